//! One error for the whole program: what failed, where, why, and what to do next.
//!
//! An error is read by a person, so it is a sentence before it is a type: [`Error::new`] says what
//! failed and where, [`Error::because`] keeps the cause, [`Error::advise`] says what to do next (of some
//! causes that the system names, [`Error::because`] knows it, so that no place forgets it). Its
//! [`Code`] is for machines: it becomes the `code` of an `error` message on the wire and the exit
//! status of a program, so that a peer or a shell script can tell "not found" from "try again".
//!
//! ```
//! use peerlab::error::{Code, Error};
//! let error = Error::new(Code::NotFound, "no file `a.npy`").advise("`make a 100` writes one");
//! assert_eq!(error.to_string(), "no file `a.npy`; `make a 100` writes one");
//! assert_eq!(error.exit_status(), 3);
//! ```

use std::fmt;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What every fallible function of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason of a failure, as it is named on the wire. The last two never leave home: should one be sent all the same,
/// `Usage` goes as `bad_message` and `Check` as `failed`, and none that is read becomes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The message is not one of the protocol: torn, too long, unknown, or out of bounds.
    BadMessage,
    /// The two programs speak different versions of the protocol.
    Version,
    /// The requester may not do that.
    Unauthorised,
    /// There is no such thing; the 404 of the sources.
    NotFound,
    /// Something else already has that name or address.
    Conflict,
    /// No amount of waiting would help: the network has too few slots.
    Infeasible,
    /// The lease is over, or never was.
    Expired,
    /// Every slot, thread or place is taken; later it may not be.
    Busy,
    /// Anything else; the text says what.
    Failed,
    /// The command as typed makes no sense; typing another will help.
    #[serde(skip_deserializing, rename = "bad_message")]
    Usage,
    /// A result was computed and found wrong.
    #[serde(skip_deserializing, rename = "failed")]
    Check,
}

/// A failure, with its code for machines and its sentence for people.
#[derive(Debug)]
pub struct Error {
    code: Code,
    what: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    advice: Option<String>,
    /// How many slots could be leased at all, where that is what failed.
    pub(crate) leasable: Option<u32>,
}

impl Error {
    /// `what` failed, and where: `cannot read a.npy`, not `read error`.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), cause: None, advice: None, leasable: None }
    }

    /// A failure of the code [`Code::Failed`].
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Code::Failed, what)
    }

    /// Keeps the cause, which is shown after what failed.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        // An error of ours has said it already.
        if self.advice.is_none() && !cause.is::<Self>() {
            self.advice = usual_advice(&cause.to_string()).map(Into::into);
        }
        self.cause = Some(cause);
        self
    }

    /// Says what to do next; shown last.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Names what gave a value that is wrong: the variable of the environment where it has this value, else the option.
    #[must_use]
    pub fn given_by(self, option: &str, variable: &str, value: &str) -> Self {
        let by = if std::env::var(variable).is_ok_and(|set| set == value) { variable } else { option };
        Self::new(self.code, by).because(self)
    }

    /// What failed, and why; not what to do next: for a failure that is made good already.
    pub(crate) fn unadvised(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.what.clone(), |cause| format!("{}: {cause}", self.what))
    }

    /// Adds how many slots could be leased at all, to a failure of the code [`Code::Infeasible`].
    #[must_use]
    pub fn with_leasable(mut self, leasable: u32) -> Self {
        self.leasable = Some(leasable);
        self
    }

    /// The reason, for programs.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The exit status of a program that ends with this failure: 1 failed, 2 usage, 3 not found,
    /// 4 infeasible or refused, 5 a check failed.
    pub fn exit_status(&self) -> u8 {
        match self.code {
            Code::BadMessage | Code::Version | Code::Expired | Code::Failed => 1,
            Code::Usage => 2,
            Code::NotFound => 3,
            Code::Infeasible | Code::Conflict | Code::Unauthorised | Code::Busy => 4,
            Code::Check => 5,
        }
    }
}

/// What to do when the system says this, unless somebody knows better. Its number stands in the words of the cause,
/// also where a crate has put words of its own around them.
fn usual_advice(cause: &str) -> Option<&'static str> {
    let (_, number) = cause.rsplit_once("(os error ")?;
    let number = number.split(')').next().and_then(|number| number.parse().ok())?;
    Some(match Errno::from_raw_os_error(number) {
        Errno::MFILE | Errno::NFILE => "close other files, or raise their limit (`ulimit -n`)",
        Errno::NOSPC | Errno::DQUOT => "make room there",
        Errno::IO => "the disk may be failing: save what matters, and look into the log of the system",
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.unadvised())?;
        if let Some(advice) = &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_to_do_is_said_also_where_a_crate_tells_what_the_system_said() {
        let full = || io::Error::from(Errno::NOSPC);
        let told = Error::failed("cannot save").because(full());
        assert_eq!(told.to_string(), "cannot save: No space left on device (os error 28); make room there");
        // As `tempfile` does, which loses the number.
        let told = Error::failed("cannot save").because(io::Error::other(format!("{} at a/b", full())));
        assert!(told.to_string().ends_with(" at a/b; make room there"), "{told}");
        let told = Error::failed("it stays there").because(told);
        assert_eq!(told.to_string().matches("make room").count(), 1, "{told}");
        let told = Error::failed("cannot connect").because(io::Error::from(Errno::CONNREFUSED));
        assert_eq!(told.to_string(), "cannot connect: Connection refused (os error 111)");
    }
    #[test]
    fn two_codes_never_leave_home() {
        for (code, said) in [(Code::Usage, Code::BadMessage), (Code::Check, Code::Failed)] {
            let line = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&line).unwrap(), said);
        }
        for name in ["usage", "check"] {
            let no = serde_json::from_str::<Code>(&format!("{name:?}")).unwrap_err().to_string();
            assert_eq!(no.matches("bad_message").count(), 1, "{no}");
        }
    }
}
