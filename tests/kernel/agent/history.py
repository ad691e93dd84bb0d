"""A growing list that one thread appends to and others wait on."""
import threading
import time


class History:
    def __init__(self):
        self._items = []
        self._changed = threading.Condition()

    def append(self, item):
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def mark(self):
        """The position after the newest item."""
        with self._changed:
            return len(self._items)

    def since(self, mark=0):
        with self._changed:
            return self._items[mark:]

    def wait(self, wanted, mark=0, limit=10.0):
        """The first item at or after `mark` for which wanted(item); None when there is none in time."""
        end = time.monotonic() + limit
        position = mark
        with self._changed:
            while True:
                while position < len(self._items):
                    if wanted(self._items[position]):
                        return self._items[position]
                    position += 1
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    if position >= len(self._items):
                        return None

    def wait_quiet(self, counts, quiet, limit):
        """Waits until no item for which counts(item) has come for `quiet` seconds."""
        end = time.monotonic() + limit
        mark = self.mark()
        while self.wait(counts, mark, quiet) is not None:
            if time.monotonic() > end:
                return False
            mark = self.mark()
        return True
