//! A small generator of its own, so that a failure can be repeated with the printed seed.

pub struct Random(u64);

impl Random {
    /// From `BONDKEEPER_TEST_SEED`, else a new one each time; printed.
    pub fn seeded() -> Self {
        let seed = std::env::var("BONDKEEPER_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
        println!("BONDKEEPER_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// One in so many.
    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}
