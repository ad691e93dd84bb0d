"""An LE L2CAP client: the kernel's own way to a connection, as any program on the host uses it."""
import errno
import os
import select
import socket
import struct

from wire import (AF_BLUETOOTH, BT_SECURITY, BTPROTO_L2CAP, SOL_BLUETOOTH, address_octets, bind,
                  connect)

ATT_CHANNEL = 4
SECURITY_MEDIUM = 2                             # encrypted, not authenticated
ERROR_RESPONSE, READ_REQUEST, READ_RESPONSE = 0x01, 0x0A, 0x0B


def _address(text, address_type):
    # struct sockaddr_l2: family, psm, address, channel, address type
    return struct.pack("<HH6sHBx", AF_BLUETOOTH, 0, address_octets(text), ATT_CHANNEL, address_type)


class AttChannel:
    """The ATT channel to a peer, on an encrypted link. Failures are OSErrors."""

    def __init__(self):
        self._sock = socket.socket(AF_BLUETOOTH, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC,
                                   BTPROTO_L2CAP)

    def connect(self, source, destination, limit):
        """`source` and `destination` are (address, mgmt address type)."""
        bind(self._sock, _address(*source))
        self._sock.setsockopt(SOL_BLUETOOTH, BT_SECURITY, struct.pack("BB", SECURITY_MEDIUM, 0))
        self._sock.setblocking(False)
        error = connect(self._sock, _address(*destination))
        if error == errno.EINPROGRESS:
            _, ready, _ = select.select([], [self._sock], [], limit)
            if not ready:
                raise TimeoutError(errno.ETIMEDOUT, f"not connected in {limit} s")
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def read(self, handle, limit=10.0):
        """The value of an attribute; a PermissionError when the peer refuses."""
        self._sock.settimeout(limit)
        self._sock.send(struct.pack("<BH", READ_REQUEST, handle))
        while True:
            pdu = self._sock.recv(512)
            if pdu[:1] == bytes([READ_RESPONSE]):
                return pdu[1:]
            if pdu[:2] == bytes([ERROR_RESPONSE, READ_REQUEST]):
                raise PermissionError(errno.EACCES, f"ATT error 0x{pdu[4]:02x}")
            if not pdu:
                raise ConnectionResetError(errno.ECONNRESET, "the link went away")

    def close(self):
        self._sock.close()
