"""Peers: BLE peripherals with a stack of their own (bumble's host), nothing of the kernel's. What
encrypts against one of these is a bond that holds against another implementation."""
import os
import secrets
import threading
from dataclasses import dataclass

from bumble import hci
from bumble.device import Device, DeviceConfiguration
from bumble.gatt import Characteristic, Service
from bumble.host import Host
from bumble.keys import JsonKeyStore, MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.smp import AddressResolver
from bumble.transport.common import AsyncPipeSink

from controllers import Controller
from history import History
from wire import LE_PUBLIC, LE_RANDOM

SERVICE = "11111111-0000-4000-8000-000000000001"
CHARACTERISTIC = "11111111-0000-4000-8000-000000000002"
SECRET = "secret"
ADVERTISING_INTERVAL_MS = 50


@dataclass(frozen=True)
class Spec:
    """A peer as the scenario asks for it (see PeerSpec in world.rs)."""
    name: str
    address: str
    public: bool = True
    secure_connections: bool = True
    privacy: bool = False
    bonding: bool = True


def _irk(spec, memory):
    """A new one, unless the peer remembers its own."""
    if memory is None:
        return secrets.token_bytes(16)
    path = os.path.join(memory, f"{spec.name}.irk")
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(secrets.token_bytes(16))
    with open(path, "rb") as file:
        return file.read()


class Peer:
    """Made and driven on the event loop; the attributes may be read from anywhere."""

    def __init__(self, spec, air, memory=None):
        """`memory`: the folder in which it keeps its IRK and its bonds, and finds those of an earlier life."""
        self.spec = spec
        self.log = History()                    # "paired" after each pairing
        self.idle = threading.Event()           # nobody is connected to it
        self.idle.set()
        self.controller = Controller(spec.name, air, spec.address if spec.public else "00:00:00:00:00:00")
        config = DeviceConfiguration(
            name=spec.name, irk=_irk(spec, memory), le_privacy_enabled=spec.privacy,
            le_rpa_timeout=0)                   # addresses change only when rotate() is called
        if not spec.public:
            config.address = hci.Address(spec.address, hci.Address.RANDOM_DEVICE_ADDRESS)
        self.device = Device(config=config, host=Host(self.controller, AsyncPipeSink(self.controller)))
        self.device.keystore = (
            MemoryKeyStore() if memory is None
            else JsonKeyStore(spec.address, os.path.join(memory, f"{spec.name}.json")))
        self.device.pairing_config_factory = lambda _connection: PairingConfig(
            sc=spec.secure_connections, mitm=False, bonding=spec.bonding,
            delegate=PairingDelegate(io_capability=PairingDelegate.NO_OUTPUT_NO_INPUT),
            identity_address_type=(PairingConfig.AddressType.PUBLIC if spec.public
                                   else PairingConfig.AddressType.RANDOM))
        self.device.host.long_term_key_provider = self._long_term_key
        # Readable on an encrypted link only.
        self._protected = Characteristic(
            CHARACTERISTIC, Characteristic.Properties.READ,
            Characteristic.Permissions.READABLE | Characteristic.Permissions.READ_REQUIRES_ENCRYPTION,
            SECRET.encode())
        self.device.add_service(Service(SERVICE, [self._protected]))
        self.device.on("connection", self._connected)

    def _connected(self, connection):
        self.idle.clear()
        connection.on("disconnection", lambda _reason: self.idle.set())
        connection.on("pairing", lambda _keys: self.log.append("paired"))

    async def _long_term_key(self, handle, rand, ediv):
        """The key for a central that wants to encrypt. Mends bumble 0.0.236 for stored legacy bonds:
        a peripheral has to use the key that it distributed, which bumble stores as `ltk_central`,
        but then it looks up `ltk_peripheral`."""
        device = self.device
        connection = device.lookup_connection(handle)
        if connection and device.smp_manager.get_long_term_key(connection, rand, ediv) is None:
            if connection.peer_address.is_resolvable:
                return await self._key_of_private(connection.peer_address)
            keys = await device.keystore.get(str(connection.peer_address))
            if keys and not keys.ltk and keys.ltk_central:
                return keys.ltk_central.value
        return await device.get_long_term_key(handle, rand, ediv)

    async def _key_of_private(self, address):
        """The key of the bond whose IRK has made this address, if there is one."""
        for _, keys in await self.device.keystore.get_all():
            if keys.irk and AddressResolver([(keys.irk.value, address)]).resolve(address):
                key = keys.ltk or keys.ltk_central
                return key.value if key else None
        return None

    @property
    def irk(self):
        """In mgmt order."""
        return self.device.irk

    @property
    def protected_handle(self):
        return self._protected.handle

    @property
    def identity_type(self):
        return LE_PUBLIC if self.spec.public else LE_RANDOM

    @property
    def on_air(self):
        """(address, mgmt address type) that it advertises under now."""
        if self.spec.privacy or not self.spec.public:
            return self.device.random_address.to_string(False), LE_RANDOM
        return self.spec.address, LE_PUBLIC

    async def start(self):
        await self.device.power_on()
        await self._advertise()

    async def _advertise(self):
        await self.device.start_advertising(
            own_address_type=(hci.OwnAddressType.PUBLIC if self.on_air[1] == LE_PUBLIC
                              else hci.OwnAddressType.RANDOM),
            auto_restart=True, advertising_interval_min=ADVERTISING_INTERVAL_MS,
            advertising_interval_max=ADVERTISING_INTERVAL_MS)

    async def rotate(self):
        """Advertises under a new resolvable private address. (bumble 0.0.236's own update_rpa()
        gives the controller the old address again, and will not do it while advertising.)"""
        await self.device.stop_advertising()
        address = hci.Address.generate_private_address(self.device.irk)
        await self.device.send_sync_command(
            hci.HCI_LE_Set_Random_Address_Command(random_address=address))
        self.device.random_address = address
        await self._advertise()

    async def forget_bonds(self):
        await self.device.keystore.delete_all()
