"""
Data-parallel training over processes and machines, for SB3's algorithms with any policy.

Each process (a rank, started by ``torchrun``) steps its own environments. Gradients are averaged over the ranks before
they are used, so that all the ranks hold the same networks and learn from one large batch.
"""

from sb3_spiking.distributed.callback import DataParallelCallback
from sb3_spiking.distributed.group import RankLostError

__all__ = ["DataParallelCallback", "RankLostError"]
