//! The fault engines: which one is used, and what the machine lacks for the others.

use super::userfaultfd::Userfaultfd;
use hmmrt::{Config, FaultEngine};
use serde::Serialize;

/// All engines, and the one that is used.
#[derive(Serialize)]
pub struct Engines {
    /// HMMRT_FAULT.
    pub setting: &'static str,
    /// The engine that a program gets.
    pub chosen: Option<&'static str>,
    /// The best last.
    pub list: Vec<Engine>,
}

/// One engine.
#[derive(Serialize)]
pub struct Engine {
    /// Its name.
    pub name: &'static str,
    /// It can be had on this machine.
    pub available: bool,
    /// How it works, or why it is not available and whether this machine has what it needs.
    pub about: String,
}

impl Engines {
    /// What this release and this machine have.
    pub fn new(config: &Config, userfaultfd: &Userfaultfd) -> Engines {
        let segv = FaultEngine::Segv.name();
        let moves = if userfaultfd.lacks(&["move"]).is_empty() { "moved" } else { "copied" };
        let uffd = |engine: FaultEngine, lacks: Vec<String>, how: &str| Engine {
            name: engine.name(),
            available: lacks.is_empty(),
            about: match &lacks[..] {
                [] => format!("userfaultfd and {how}, pages are {moves}"),
                lacks => format!("this machine lacks {}", lacks.join(", ")),
            },
        };
        let list = vec![
            Engine {
                name: segv,
                available: true,
                about:
                    "page protection and SIGSEGV; what `auto` takes: what is read stays valid on the device"
                        .into(),
            },
            uffd(FaultEngine::Uffd, lacks(userfaultfd, false), "SIGBUS"),
            uffd(FaultEngine::UffdThread, lacks(userfaultfd, true), "messages, the kernel's own touches too"),
        ];
        let wanted = if config.fault == FaultEngine::Auto { segv } else { config.fault.name() };
        let chosen = list.iter().find(|e| e.name == wanted && e.available).map(|e| e.name);
        Engines { setting: config.fault.name(), chosen, list }
    }
}

/// What an engine on userfaultfd would miss here. `whole`: it answers the kernel's own touches, too.
fn lacks(userfaultfd: &Userfaultfd, whole: bool) -> Vec<String> {
    match (userfaultfd.access, whole) {
        ("none", _) => return vec!["userfaultfd".into()],
        ("user-mode-only", true) => {
            return vec![
                "the right to it (/dev/userfaultfd, vm.unprivileged_userfaultfd=1 or CAP_SYS_PTRACE)".into(),
            ];
        }
        _ => {}
    }
    let needed: &[&str] = if whole { &["pagefault_flag_wp"] } else { &["pagefault_flag_wp", "sigbus"] };
    let missing = userfaultfd.lacks(needed).into_iter();
    missing.map(|name| format!("UFFD_FEATURE_{}", name.to_uppercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::{Engines, lacks};
    use crate::info::userfaultfd::Userfaultfd;
    use hmmrt::{Config, FaultEngine};

    fn machine(access: &'static str, features: &[&'static str]) -> Userfaultfd {
        Userfaultfd {
            device: "not there".into(),
            unprivileged: Some(0),
            access,
            error: None,
            features: features.into(),
        }
    }

    #[test]
    fn what_a_machine_lacks() {
        let all = ["pagefault_flag_wp", "sigbus", "move"];
        for whole in [false, true] {
            assert_eq!(lacks(&machine("none", &[]), whole), ["userfaultfd"]);
            assert_eq!(lacks(&machine("full", &all), whole), [""; 0]);
        }
        assert_eq!(lacks(&machine("user-mode-only", &all), false), [""; 0]);
        assert!(lacks(&machine("user-mode-only", &all), true)[0].contains("CAP_SYS_PTRACE"));
        assert_eq!(lacks(&machine("full", &all[..1]), false), ["UFFD_FEATURE_SIGBUS"]);
    }

    #[test]
    fn the_one_that_is_used() {
        let all = ["pagefault_flag_wp", "sigbus", "move"];
        for (fault, anywhere, here) in [
            (FaultEngine::Auto, Some("segv"), Some("segv")),
            (FaultEngine::Segv, Some("segv"), Some("segv")),
            (FaultEngine::Uffd, None, Some("uffd")),
            (FaultEngine::UffdThread, None, None),
        ] {
            let config = Config { fault, ..Config::default() };
            assert_eq!(Engines::new(&config, &machine("none", &[])).chosen, anywhere);
            assert_eq!(Engines::new(&config, &machine("user-mode-only", &all)).chosen, here);
        }
    }
}
