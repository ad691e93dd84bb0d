//! What the simulated kernel can be told to do badly, and how it differs from
//! the newest one.

/// Fixed when the simulator starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Every key and random address follows from this.
    pub seed: u64,
    /// The kernels before August 2024: one bad record and a Load command is
    /// refused as a whole.
    pub refuse_bad_records: bool,
    /// Unknown octets after the parameters of every event and reply, as a later
    /// kernel may add them.
    pub trailing_octets: usize,
    /// Bound of each socket's receive queue; none: the system's.
    pub queue_octets: Option<usize>,
    /// The control channel is open, but without CAP_NET_ADMIN.
    pub untrusted: bool,
    /// Pairings wait for a socket to answer User Confirmation Request. Otherwise
    /// the request goes out and "some program" accepts it at once.
    pub await_confirmation: bool,
    /// Management revision: version 1 dot this.
    pub revision: u16,
    /// What a socket opened from the simulator's own process by path is called:
    /// a service that runs in the same process as the simulator.
    pub own_process_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            refuse_bad_records: false,
            trailing_octets: 0,
            queue_octets: None,
            untrusted: false,
            await_confirmation: false,
            revision: 23,
            own_process_name: "bondkeeper".to_owned(),
        }
    }
}

/// What happens to a command instead of its being carried out and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Carried out, never answered (old kernels answer no successful load).
    NoReply,
    /// Not carried out, never answered.
    Ignored,
    /// Not carried out, answered with this status.
    Status(u8),
    /// The controller is unplugged while the command is under way.
    Vanish,
    /// Kept, with all that follows on its socket, until `release_held`.
    Hold,
}

/// Trouble for some commands.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub opcode: u16,
    /// One controller's; none: any.
    pub index: Option<u16>,
    pub trouble: Trouble,
    /// How many commands it strikes; none: all, until the faults are cleared.
    pub times: Option<u32>,
}

impl Fault {
    pub const fn every(opcode: u16, trouble: Trouble) -> Self {
        Self { opcode, index: None, trouble, times: None }
    }

    pub const fn once(opcode: u16, trouble: Trouble) -> Self {
        Self { opcode, index: None, trouble, times: Some(1) }
    }

    pub const fn at(mut self, index: u16) -> Self {
        self.index = Some(index);
        self
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The trouble that strikes this command, counted off.
    pub fn strike(&mut self, opcode: u16, index: u16) -> Option<Trouble> {
        let at = self.0.iter().position(|f| f.opcode == opcode && f.index.is_none_or(|i| i == index))?;
        let fault = &mut self.0[at];
        let trouble = fault.trouble;
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.0.remove(at);
            }
        }
        Some(trouble)
    }
}
