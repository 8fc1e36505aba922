"""
Data-parallel training over processes and machines, for the algorithms of SB3 with any policy.

Each process (a rank, started by ``torchrun``) steps environments of its own; every gradient is averaged over the ranks
before it is used, so that all of them hold the same networks and learn from one batch that is as large as their batches
together.
"""

from sb3_spiking.distributed.callback import DataParallelCallback
from sb3_spiking.distributed.group import RankLostError

__all__ = ["DataParallelCallback", "RankLostError"]
