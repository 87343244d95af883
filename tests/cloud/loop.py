"""One thread for the services: sockets to read, timers to fire, calls handed over from other threads.

Its handlers are short, so a request is answered within about a millisecond. An exception in one goes to `on_error`
and the loop lives on: the failure is recorded, never swallowed.
"""

import heapq
import itertools
import selectors
import socket
import threading
import time


class Timer:
    __slots__ = ("when", "call")

    def __init__(self, when, call):
        self.when, self.call = when, call

    def cancel(self):
        self.call = None


class Loop:
    def __init__(self, on_error, name="stand-in services"):
        self._on_error = on_error
        self._selector = selectors.DefaultSelector()
        self._timers, self._count = [], itertools.count()
        self._calls, self._lock = [], threading.Lock()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain)
        self._running = True
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def close(self):
        self._running = False
        self._wake()
        self.thread.join()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def soon(self, call):
        """Runs call() in the loop's thread. Callable from any thread."""
        with self._lock:
            self._calls.append(call)
        self._wake()

    def after(self, seconds, call):
        """Runs call() in the loop's thread after that long. Returns a Timer that can be cancelled."""
        timer = Timer(time.monotonic() + seconds, call)
        with self._lock:
            heapq.heappush(self._timers, (timer.when, next(self._count), timer))
        if threading.current_thread() is not self.thread:
            self._wake()
        return timer

    def watch(self, sock, on_readable):
        """Calls on_readable() in the loop's thread whenever there is something to read."""
        self.soon(lambda: self._selector.register(sock, selectors.EVENT_READ, on_readable))

    def forget(self, sock):
        """Stops watching; returns when the loop no longer knows the socket."""
        if threading.current_thread() is self.thread or not self.thread.is_alive():
            self._unregister(sock)
            return
        done = threading.Event()
        self.soon(lambda: (self._unregister(sock), done.set()))
        done.wait(5)

    def _unregister(self, sock):
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            pass

    def _wake(self):
        try:
            self._wake_write.send(b"!")
        except OSError:
            pass

    def _drain(self):
        self._wake_read.recv(4096)

    def _due(self):
        with self._lock:
            calls, self._calls = self._calls, []
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                call = heapq.heappop(self._timers)[2].call
                if call:
                    calls.append(call)
            wait = self._timers[0][0] - now if self._timers else None
        return calls, wait

    def _run(self):
        while self._running:
            calls, wait = self._due()
            for call in calls:
                self._guard(call)
            if calls:
                continue
            for key, _ in self._selector.select(wait):
                self._guard(key.data)

    def _guard(self, call):
        try:
            call()
        except Exception as error:      # noqa: a failed handler must reach the test, not end the thread
            self._on_error(error, "service thread")
