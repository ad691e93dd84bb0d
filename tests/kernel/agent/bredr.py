"""Pairs two dual-mode controllers of this kernel with each other over BR/EDR (Secure Simple
Pairing), as another program on the host would. bumble's controllers are LE only here, so BlueZ's btvirt
provides the two: started by the caller, indices 0 and 1. Prints the link key in hex."""
import sys

from mgmt import (NEW_LINK_KEY, PAIR_DEVICE, READ_INFO, SET_BONDABLE, SET_IO_CAPABILITY, SET_LE,
                  SET_POWERED, Listener, Mgmt)

SET_CONNECTABLE = 0x0007
SET_SSP = 0x000B
NO_INPUT_NO_OUTPUT = 3
BREDR = 0


def main():
    mgmt, listener = Mgmt(), Listener()
    for index in (0, 1):
        mgmt.ok(SET_POWERED, b"\0", index)
        for command, value in ((SET_SSP, 1), (SET_LE, 1), (SET_BONDABLE, 1),
                               (SET_IO_CAPABILITY, NO_INPUT_NO_OUTPUT), (SET_CONNECTABLE, 1), (SET_POWERED, 1)):
            mgmt.ok(command, bytes([value]), index)
    peer = mgmt.ok(READ_INFO, index=1)[:6]
    mark = listener.events.mark()
    mgmt.ok(PAIR_DEVICE, peer + bytes([BREDR, NO_INPUT_NO_OUTPUT]), 0)
    event = listener.events.wait(lambda e: e.code == NEW_LINK_KEY and e.index == 0, mark)
    if event is None:
        sys.exit("the kernel reported no link key")
    print(event.key()["value"])


main()
