"""Teach a spiking student the actions of a trained agent of any algorithm (DAgger).

Takes what model.save has written. The teacher is loaded with SB3, which runs code in the file: this needs --trust. The
student is a new model of the same algorithm with a spiking policy, and is written as SB3 writes it: evaluate and watch
take it, and SB3 trains it further. A DQN or QRDQN can be converted instead: sb3-spiking convert.
"""

import argparse
from pathlib import Path

from sb3_spiking_cli import environment

POLICIES = ("PopSANPolicy", "SpikingMlpPolicy", "SpikingCnnPolicy", "SpikingMultiInputPolicy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="teacher.zip", help="trained agent, as model.save writes it")
    environment.add_arguments(parser)
    student = parser.add_argument_group("student")
    student.add_argument(
        "--policy",
        choices=POLICIES,
        help="spiking policy (default: PopSANPolicy; for images SpikingCnnPolicy, for Dicts SpikingMultiInputPolicy)",
    )
    student.add_argument("-T", "--time-steps", type=int, metavar="T", help="time steps (default: the policy's)")
    student.add_argument(
        "--net-arch", type=int, nargs="+", metavar="N", help="sizes of the hidden layers (default: the policy's)"
    )
    budget = parser.add_argument_group("distillation")
    budget.add_argument(
        "--steps", type=int, default=50_000, metavar="N", help="states that the teacher labels (default: %(default)s)"
    )
    budget.add_argument(
        "--gradient-steps", type=int, metavar="N", help="gradient steps (default: a tenth of --steps, at least 2000)"
    )
    budget.add_argument("--rounds", type=int, default=20, metavar="N", help="rounds (default: %(default)s)")
    budget.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="states of a gradient step (default: %(default)s)"
    )
    budget.add_argument(
        "--learning-rate", type=float, default=2e-3, metavar="RATE", help="initial learning rate (default: %(default)s)"
    )
    budget.add_argument(
        "--exploration",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="noise on continuous actions, in half ranges, or probability of random ones (default: %(default)s)",
    )
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument(
        "--episodes", type=int, default=10, metavar="N", help="episodes that each agent plays (default: %(default)s)"
    )
    evaluation.add_argument("--seed", type=environment.seed, default=0, help="seed of everything (default: 0)")
    environment.add_step_limit(evaluation)
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="student (default: <name>_student.zip beside teacher.zip)"
    )
    output.add_argument("--force", action="store_true", help="overwrite existing files")
    output.add_argument("--trust", action="store_true", help="load the teacher with SB3, which runs code in the file")
    output.add_argument("--algo", metavar="NAME", help="algorithm of a teacher whose policy class is your own")
    output.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
