"""Turn a trained DQN or QRDQN into a spiking network, and measure what that costs.

The file is read as data: nothing in it is executed. The environment is taken from --env, else from the folder of
rl_zoo3 around the file or from the file's name. Writes <name>_snn.zip, <name>_snn.json and <name>_snn.png.
"""

import argparse
from pathlib import Path

from sb3_spiking_cli import environment

CODINGS = ("ternary", "few-spike", "rate", "signed", "residual", "tan2021")
"""Keys of `sb3_spiking.conversion.METHODS`, the default first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="dqn.zip", help="DQN or QRDQN, as model.save writes it")
    environment.add_arguments(parser)
    states = parser.add_argument_group("calibration")
    states.add_argument(
        "--states", type=int, default=10_000, metavar="N", help="states to collect (default: %(default)s)"
    )
    states.add_argument(
        "--observations", metavar="FILE", type=Path, help="states from a .npz or .npy file, instead of collecting them"
    )
    method = parser.add_argument_group("conversion")
    method.add_argument(
        "--coding", choices=CODINGS, default=CODINGS[0], help="how spikes carry activations (default: %(default)s)"
    )
    method.add_argument(
        "-T", "--time-steps", type=int, metavar="T", help="time steps per layer (default: the coding's)"
    )
    method.add_argument(
        "--threshold",
        metavar="RULE",
        help="thresholds: max (the largest activation), 99.9%% (a percentile) or max*1.5 (default: the coding's)",
    )
    scope = method.add_mutually_exclusive_group()
    scope.add_argument("--per-neuron", action="store_true", default=None, help="one threshold for each neuron")
    scope.add_argument("--per-layer", action="store_false", dest="per_neuron", help="one threshold for each layer")
    method.add_argument("--reset", choices=["soft", "hard"], help="reset after a spike (coding rate)")
    method.add_argument(
        "--initial", type=float, metavar="SHARE", help="initial membrane potential, in thresholds (rate codes)"
    )
    method.add_argument(
        "--settling", type=int, metavar="STEPS", help="time steps before the output layer starts to count (rate codes)"
    )
    method.add_argument(
        "--alpha", type=float, metavar="SHARE", help="share of the membranes kept for the next decision (residual)"
    )
    method.add_argument(
        "--finetune",
        type=int,
        default=0,
        metavar="STEPS",
        help="gradient steps of distillation from the DQN (default: 0)",
    )
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument(
        "--episodes", type=int, default=20, metavar="N", help="episodes that each agent plays (default: %(default)s)"
    )
    evaluation.add_argument(
        "--epsilon", type=float, default=0.0, metavar="P", help="probability of a random action (default: 0)"
    )
    evaluation.add_argument("--seed", type=environment.seed, default=0, help="seed of the first episode (default: 0)")
    environment.add_step_limit(evaluation)
    evaluation.add_argument("--sweep-time", action="store_true", help="print the agreement for other values of T")
    evaluation.add_argument("--sweep-threshold", action="store_true", help="print the agreement for other thresholds")
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="converted network (default: <name>_snn.zip beside dqn.zip)"
    )
    output.add_argument("--force", action="store_true", help="overwrite existing files")
    output.add_argument(
        "--trust", action="store_true", help="load a policy class of your own with SB3, which runs code in the file"
    )
    output.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
