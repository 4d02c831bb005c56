//! Whether a program would run with more rights than its caller has. The kernel then tells the loader not to trust the
//! environment, and nothing is preloaded. The rules are those of the kernel's `cap_bprm_creds_from_file`.

use crate::os;

/// Who starts the program.
pub struct Caller {
    /// Real and effective user.
    pub user: [u32; 2],
    /// Real and effective group.
    pub group: [u32; 2],
    /// Programs it starts never gain rights (`PR_SET_NO_NEW_PRIVS`).
    pub never_gains: bool,
}

/// What the program's file says.
pub struct File {
    /// Its mode bits.
    pub mode: u32,
    /// The user it belongs to.
    pub owner: u32,
    /// The group it belongs to.
    pub group: u32,
    /// It has file capabilities.
    pub capabilities: bool,
    /// It lies on a file system that gives no rights (`nosuid`).
    pub powerless: bool,
}

/// What about the program gives it rights that the caller has not.
pub fn gain(file: &File, caller: &Caller) -> Option<&'static str> {
    let gives = !file.powerless && !caller.never_gains;
    let setuid = gives && file.mode & os::S_ISUID != 0;
    // Without the group's x this bit meant mandatory locks.
    let group_bits = os::S_ISGID | os::S_IXGRP;
    let setgid = gives && file.mode & group_bits == group_bits;
    let [user, effective] = caller.user;
    if user != if setuid { file.owner } else { effective } {
        return Some(if setuid {
            "is a setuid program"
        } else {
            "would run with the rights of another user"
        });
    }
    let [group, effective] = caller.group;
    if group != if setgid { file.group } else { effective } {
        return Some(if setgid {
            "is a setgid program"
        } else {
            "would run with the rights of another group"
        });
    }
    (gives && file.capabilities && user != 0).then_some("has file capabilities")
}

#[cfg(test)]
mod tests {
    use super::{Caller, File, gain};

    const USER: Caller = Caller { user: [1000; 2], group: [1000; 2], never_gains: false };
    const ROOT: Caller = Caller { user: [0; 2], group: [0; 2], never_gains: false };
    const PLAIN: File = File { mode: 0o755, owner: 0, group: 0, capabilities: false, powerless: false };

    #[test]
    fn mode_bits() {
        for (mode, owner, group, who, expected) in [
            (0o100755, 0, 0, &USER, None),
            (0o104755, 0, 0, &USER, Some("is a setuid program")),
            (0o106755, 0, 0, &USER, Some("is a setuid program")),
            (0o102755, 0, 42, &USER, Some("is a setgid program")),
            (0o102745, 0, 42, &USER, None),   // no x for the group
            (0o104755, 1000, 0, &USER, None), // one's own
            (0o102755, 0, 1000, &USER, None),
            (0o104755, 0, 0, &ROOT, None), // root is root already
            (0o104755, 1000, 0, &ROOT, Some("is a setuid program")),
            (0o102755, 0, 42, &ROOT, Some("is a setgid program")),
        ] {
            let file = File { mode, owner, group, ..PLAIN };
            assert_eq!(gain(&file, who), expected, "{mode:o} {owner}:{group}");
        }
    }

    #[test]
    fn capabilities() {
        let file = File { capabilities: true, ..PLAIN };
        assert_eq!(gain(&file, &USER), Some("has file capabilities"));
        assert_eq!(gain(&file, &ROOT), None);
    }

    #[test]
    fn where_no_rights_are_given() {
        for (powerless, never_gains) in [(true, false), (false, true)] {
            let file = File { mode: 0o106755, capabilities: true, powerless, ..PLAIN };
            assert_eq!(gain(&file, &Caller { never_gains, ..USER }), None);
        }
    }

    #[test]
    fn a_caller_with_borrowed_rights() {
        let caller = Caller { user: [1000, 0], ..USER };
        assert_eq!(gain(&PLAIN, &caller), Some("would run with the rights of another user"));
        let caller = Caller { group: [1000, 42], ..USER };
        assert_eq!(gain(&PLAIN, &caller), Some("would run with the rights of another group"));
    }
}
