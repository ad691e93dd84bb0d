//! What the kernel's answer to a command means for the machine. Pure.

use crate::adapter::load::ListOutcome;
use crate::adapter::machine::{IdentityOutcome, UnpairOutcome};
use crate::mgmt::{CommandFailure, Reply, Status};

type Answer = Result<Reply, CommandFailure>;

pub fn list(answer: &Answer) -> ListOutcome {
    match answer {
        Ok(_) => ListOutcome::Taken,
        Err(CommandFailure::Refused(Status::InvalidParameters)) => ListOutcome::Refused,
        Err(CommandFailure::TimedOut) => ListOutcome::Silent,
        Err(failure) => ListOutcome::Failed(failure.to_string()),
    }
}

pub fn identity(answer: &Answer) -> IdentityOutcome {
    match answer {
        Ok(_) => IdentityOutcome::Taken,
        Err(CommandFailure::Refused(Status::Rejected)) => IdentityOutcome::Rejected,
        Err(failure) => IdentityOutcome::Failed(failure.to_string()),
    }
}

pub fn unpair(answer: &Answer) -> UnpairOutcome {
    match answer {
        // It may never have been loaded.
        Ok(_) | Err(CommandFailure::Refused(Status::NotPaired)) => UnpairOutcome::Gone,
        Err(CommandFailure::TimedOut) => UnpairOutcome::Silent,
        Err(failure) => UnpairOutcome::Failed(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_means_what_it_means_for_its_command() {
        let refused = |status| Err(CommandFailure::Refused(status));
        let what = |failure: Answer| failure.unwrap_err().to_string();
        let (busy, silent) = (refused(Status::Busy), Err(CommandFailure::TimedOut));

        assert_eq!(list(&Ok(Reply::Empty)), ListOutcome::Taken);
        assert_eq!(list(&refused(Status::InvalidParameters)), ListOutcome::Refused);
        assert_eq!(list(&silent), ListOutcome::Silent);
        assert_eq!(list(&busy), ListOutcome::Failed(what(busy.clone())));

        assert_eq!(identity(&Ok(Reply::Empty)), IdentityOutcome::Taken);
        assert_eq!(identity(&refused(Status::Rejected)), IdentityOutcome::Rejected, "it is powered on");
        for failed in [&busy, &silent, &refused(Status::InvalidParameters)] {
            assert_eq!(identity(failed), IdentityOutcome::Failed(what(failed.clone())));
        }

        assert_eq!(unpair(&Ok(Reply::Empty)), UnpairOutcome::Gone);
        assert_eq!(unpair(&refused(Status::NotPaired)), UnpairOutcome::Gone);
        assert_eq!(unpair(&silent), UnpairOutcome::Silent);
        assert_eq!(unpair(&busy), UnpairOutcome::Failed(what(busy.clone())));
    }
}
