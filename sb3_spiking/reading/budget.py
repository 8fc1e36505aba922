"""Budget of memory and time for an untrusted file."""


class Budget:
    """
    Amount shared by all the parts of a file.

    :param limit: total amount
    :param what: unit, for the error
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit = self._left = limit
        self._what = what

    def take(self, amount: int) -> None:
        """
        Take an amount off the budget, before it is allocated or computed.

        :param amount: amount, >= 0
        :raises ValueError: if less is left
        """
        self._left -= amount
        if self._left < 0:
            raise ValueError(f"more than {self._limit} {self._what}")
