//! The simulator against the facts that were measured on real kernels, with a
//! plain client and nothing of the product.

#[path = "mod.rs"]
mod sim;
#[allow(dead_code, reason = "shared with the black-box tests, which use the rest")]
#[path = "../blackbox/world.rs"]
mod world;
#[allow(dead_code, reason = "shared with the black-box tests, which use the rest")]
#[path = "../blackbox/world_sim.rs"]
mod world_sim;

#[path = "selftest/channels.rs"]
mod channels;
#[path = "selftest/faults.rs"]
mod faults;
#[path = "selftest/golden.rs"]
mod golden;
#[path = "selftest/loads.rs"]
mod loads;
#[path = "selftest/pairing.rs"]
mod pairing;
#[path = "selftest/worlds.rs"]
mod worlds;

use sim::client::Client;
use sim::records::{Irk, Ltk, P256_UNAUTHENTICATED};
use sim::wire::{Address, LE_PUBLIC, op};
use sim::{Hardware, Options, SimKernel};
use tempfile::TempDir;

const ADAPTER: &str = "C0:FF:EE:FF:00:01";
const PEER: &str = "C0:FF:EE:00:00:99";

/// A kernel with one LE controller at index 0, and a client by path.
struct Bench {
    kernel: SimKernel,
    client: Client,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default(), &Hardware::new(ADAPTER))
    }

    fn with(options: Options, hardware: &Hardware) -> Self {
        let dir = TempDir::new().expect("a directory");
        let kernel = SimKernel::start_with(dir.path(), options);
        kernel.plug(hardware);
        let client = Client::connect(&dir.path().join("control"));
        // Its first reply: from now on the kernel knows the socket.
        client.raise_send_mtu();
        let mut bench = Self { kernel, client, dir };
        bench.client.succeed(op::READ_VERSION, sim::wire::NO_INDEX, &[]);
        bench
    }

    /// The addresses in the LTK table, newest first, with the key's first octet.
    fn ltks(&self) -> Vec<(String, u8)> {
        self.kernel.tables(0).ltks.iter().map(|k| (k.address.text(), k.value[0])).collect()
    }
}

/// A Secure Connections record for a peer with this number, its key full of it.
fn ltk(number: u8) -> Ltk {
    let address = Address::new(&format!("C0:FF:EE:00:00:{number:02X}"), LE_PUBLIC);
    let value = [number; 16];
    Ltk { address, key_type: P256_UNAUTHENTICATED, central: 0, size: 16, ediv: 0, rand: [0; 8], value }
}

fn irk(number: u8) -> Irk {
    Irk { address: ltk(number).address, value: [number; 16] }
}

fn written(records: &[Ltk]) -> Vec<Vec<u8>> {
    records.iter().map(Ltk::write).collect()
}
