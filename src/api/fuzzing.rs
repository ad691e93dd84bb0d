//! The body of the fuzz target for requests; the tests run it on damaged requests. No part of the product.
//!
//! Whatever comes in: no panic, and an error never repeats what was sent. Driven by `fuzz/` and the tests.

use super::router::{Commands, Incoming, Outcome, route};

/// A request: its verb, a line feed, its body.
pub fn request(octets: &[u8]) {
    let mut parts = octets.splitn(2, |octet| *octet == b'\n');
    let (Some(verb), Some(body)) = (parts.next(), parts.next()) else { return };
    let Ok(verb) = std::str::from_utf8(verb) else { return };
    for retained in [false, true] {
        for commands in [Commands::All, Commands::Read, Commands::None] {
            let routed = route(Incoming { verb, body, retained }, commands);
            let accepted = matches!(routed.outcome, Outcome::Accept(_));
            assert!(!(accepted && (retained || commands == Commands::None)), "it must be refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUESTS: [&str; 6] = [
        "health_check\n{\"transaction\":7}",
        "bonds/list\n{\"adapter\":\"AA:BB:CC:00:00:01\",\"offset\":0,\"limit\":10}",
        "bonds/export\n{\"peers\":[\"C0:FF:EE:00:00:01\"],\"format\":\"bondkeeper\",\"allow_loss\":true}",
        "bonds/restore\n{\"from\":{\"inline\":{\"a\":[1,2.5,null]}},\"mode\":\"replace\",\"dry_run\":true}",
        "bonds/forget\n{\"adapter\":\"AA:BB:CC:00:00:01\",\"peer\":\"C0:FF:EE:00:00:01\",\"unpair\":false}",
        "adapter/mode\n{\"adapter\":\"AA:BB:CC:00:00:01\",\"mode\":\"observe\"}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

        #[test]
        fn a_damaged_request_is_carried_out_or_refused(
            whole in prop::sample::select(REQUESTS.to_vec()),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        ) {
            let mut octets = whole.as_bytes().to_vec();
            for (at, octet) in flips {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            if let Some(cut) = cut {
                octets.truncate(cut.index(octets.len() + 1));
            }
            request(&octets);
        }
    }
}
