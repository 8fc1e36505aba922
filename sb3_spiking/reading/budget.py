"""How much may be spent on a file of unknown origin."""


class Budget:
    """
    An amount that all the parts of a file share.

    :param limit: how much there is in all
    :param what: of what, for the error
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit = self._left = limit
        self._what = what

    def take(self, amount: int) -> None:
        """
        Spend some of it, before it is spent.

        :param amount: how much, >= 0
        :raises ValueError: if there is not so much left
        """
        self._left -= amount
        if self._left < 0:
            raise ValueError(f"more than {self._limit} {self._what}")
