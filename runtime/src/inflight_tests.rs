use super::*;

fn stream(number: u16, device: usize) -> Stream {
    Stream { slot: Stream::slot(number), number, device }
}

/// A page that leaves between acquire's look and its opening must make acquire look again: the window is too narrow
/// for a race test to hit.
#[test]
fn a_change_meets_what_is_being_acquired() {
    let range = ByteRange { start: 0x5000_0000_0000, end: 0x5000_0000_1000 };
    let (s, mut after) = (stream(900, 0), [(0, 0); MOST_AFTER]);
    let claim = [Claim { range, write: true }];
    assert_eq!(publish(s, false, &claim, &mut after), Ok(0));
    assert_eq!(blocker(range, Intent::Take { to: None }), None, "nothing runs yet: the page may go");
    assert!(!open(s), "but acquire must look again");
    settle(s);
    let b = blocker(range, Intent::Take { to: None }).expect("what is being made resident stays");
    assert!(b.is_open() && b.is_own());
    assert_eq!(blocker(range, Intent::Take { to: Some(0) }), None, "to the same device it may go");
    assert!(open(s));
    // Another device's writer has to wait, its own device's other stream for overlapping bytes only.
    let other = Claim { range: ByteRange { start: range.end - 8, end: range.end }, write: true };
    assert!(publish(stream(901, 1), false, &[other], &mut after).is_err());
    release(s, false, 1);
    assert_eq!(publish(stream(901, 1), false, &[other], &mut after), Ok(1));
    assert_eq!(after[0], (900, 1));
    abandon(stream(901, 1));
    assert!(blocker(range, Intent::Forget).is_some());
    s.slot.timeline.reach(1);
    assert_eq!(blocker(range, Intent::Forget), None);
}

/// Catches: what a thread could not release is in use for ever once it has ended; or what another is launching is released.
#[test]
fn what_a_launch_left_is_released_by_whoever_comes_next() {
    let at =
        |i: usize| ByteRange { start: 0x5000_6000_0000 + i * 0x1000, end: 0x5000_6000_1000 + i * 0x1000 };
    let (s, mut after) = (stream(907, 0), [(0, 0); MOST_AFTER]);
    let mut opens = |range| {
        assert_eq!(publish(s, true, &[Claim { range, write: true }], &mut after), Ok(0));
        assert!(open(s));
    };
    opens(at(0));
    leave(s);
    opens(at(1)); // the next launch, which is under way
    let phase = |i: usize| blocker(at(i), Intent::Forget).map(|b| b.is_open());
    assert_eq!((phase(0), phase(1)), (Some(true), Some(true)));
    std::thread::spawn(move || release(s, true, 1)).join().unwrap();
    assert_eq!((phase(0), phase(1)), (Some(false), Some(true)));
    release(s, true, 2);
    s.slot.timeline.reach(2);
    assert_eq!((phase(0), phase(1)), (None, None));
}

/// The same ranges again and again, on a stream that is slow: one entry for each, with the last ticket.
#[test]
fn what_is_released_again_is_one_entry() {
    let at =
        |i: usize| ByteRange { start: 0x5000_2000_0000 + i * 0x1000, end: 0x5000_2000_1000 + i * 0x1000 };
    let (s, mut after) = (stream(904, 3), [(0, 0); MOST_AFTER]);
    let claims: Vec<Claim> = (0..9).map(|i| Claim { range: at(i), write: i % 2 == 0 }).collect();
    let entries = |ticket: u64| {
        let mut registry = REGISTRY.lock();
        let mine = registry.all().iter().filter(|u| u.stream == s.number);
        let (all, of_ticket): (Vec<&Use>, Vec<&Use>) =
            (mine.clone().collect(), mine.filter(|u| u.phase == Phase::Released(ticket)).collect());
        (all.len(), of_ticket.len())
    };
    for ticket in 1..=4 {
        // Turned round each time, and a part only in the third.
        let these = if ticket == 3 { &claims[2..5] } else { &claims[..] };
        let these: Vec<Claim> =
            if ticket % 2 == 0 { these.iter().rev().copied().collect() } else { these.to_vec() };
        assert_eq!(publish(s, false, &these, &mut after), Ok(0));
        assert!(open(s));
        release(s, false, ticket);
        assert_eq!(entries(ticket), (9, these.len()), "ticket {ticket}");
    }
    // A launch's release leaves open what `hmm_acquire` opened, and the other way round takes both.
    assert_eq!(publish(s, false, &claims[..1], &mut after), Ok(0));
    assert_eq!(publish(s, true, &claims[1..2], &mut after), Ok(0));
    assert!(open(s));
    release(s, true, 5);
    assert_eq!(entries(5), (10, 1));
    release(s, false, 6);
    assert_eq!(entries(6), (9, 1));
    s.slot.timeline.reach(6);
    release(s, false, 7);
    assert_eq!(entries(7), (0, 0));
}

/// Two threads launch the same on one stream: whose kernel comes later may be the first to say so here.
#[test]
fn the_later_ticket_counts_whoever_comes_first() {
    let range = ByteRange { start: 0x5000_3000_0000, end: 0x5000_3000_1000 };
    let s = stream(905, 4);
    let begin = || {
        assert_eq!(publish(s, true, &[Claim { range, write: true }], &mut [(0, 0); MOST_AFTER]), Ok(0));
        assert!(open(s));
    };
    begin();
    let other = || {
        begin();
        release(s, true, 2);
    };
    std::thread::scope(|scope| scope.spawn(other).join().unwrap());
    release(s, true, 1);
    s.slot.timeline.reach(1);
    let b = blocker(range, Intent::Take { to: None }).expect("the second kernel may be writing still");
    assert!(!b.is_open());
    s.slot.timeline.reach(2);
    assert_eq!(blocker(range, Intent::Take { to: None }), None);
    release(s, true, 3);
}

#[test]
fn overwriting_meets_readers_of_the_same_device() {
    let range = ByteRange { start: 0x5000_1000_0000, end: 0x5000_1000_1000 };
    let (s, mut after) = (stream(902, 2), [(0, 0); MOST_AFTER]);
    assert_eq!(publish(s, false, &[Claim { range, write: false }], &mut after), Ok(0));
    settle(s);
    let from_outside =
        Intent::Overwrite { device: 2, by: Some(Claimer::new(stream(903, 2))), in_order: false };
    assert_eq!(blocker(range, from_outside), None);
    assert!(!open(s), "its bytes may be new ones: look again");
    settle(s);
    assert!(open(s));
    assert_eq!(blocker(range, Intent::Take { to: None }), None, "a reader keeps its copy");
    assert!(blocker(range, from_outside).is_some());
    assert_eq!(blocker(range, Intent::Overwrite { device: 1, by: None, in_order: false }), None);
    release(s, false, 1);
    s.slot.timeline.reach(1);
}

/// Copies into a device's memory are not in its streams' order: they meet kernels of their own stream, too.
#[test]
fn overwriting_meets_readers_of_the_same_stream() {
    let range = ByteRange { start: 0x5000_4000_0000, end: 0x5000_4000_1000 };
    let s = stream(906, 5);
    let enter =
        || assert_eq!(publish(s, true, &[Claim { range, write: false }], &mut [(0, 0); MOST_AFTER]), Ok(0));
    let by = |waited| Some(Claimer { waited, ..Claimer::new(s) });
    let meets = |waited, in_order| blocker(range, Intent::Overwrite { device: 5, by: by(waited), in_order });
    enter();
    settle(s);
    let other = || {
        assert_eq!(meets(false, true), None);
        assert!(open(s), "it has nothing there");
        assert_eq!(meets(false, false), None);
    };
    std::thread::scope(|scope| scope.spawn(other).join().unwrap());
    assert!(!open(s), "another launch of the stream has brought new bytes: look again");
    settle(s);
    assert_eq!(meets(false, false), None);
    assert!(open(s), "its own");
    let theirs = || (meets(false, false), meets(true, false), meets(false, true));
    let (not, waited, in_order) = std::thread::scope(|scope| scope.spawn(theirs).join().unwrap());
    assert!(not.is_some() && waited.is_some(), "it may be queueing a kernel");
    assert_eq!(in_order, None);
    assert!(meets(false, false).is_some_and(|b| b.is_own()));
    assert_eq!((meets(true, false), meets(false, true)), (None, None));
    release(s, true, 1);
    assert!(meets(true, false).is_some_and(|b| !b.is_open()));
    s.slot.timeline.reach(1);
    assert_eq!(meets(false, false), None);
}

/// A mark that was made before a kernel was queued says nothing of it, however late its release comes.
#[test]
fn a_ticket_from_before_releases_nothing() {
    let (mine, left) = (0x5000_5000_0000, 0x5000_5000_1000);
    let range = |start| ByteRange { start, end: start + 0x1000 };
    let s = stream(908, 6);
    let enter = |start, launch| {
        let claim = [Claim { range: range(start), write: true }];
        assert_eq!(publish(s, launch, &claim, &mut [(0, 0); MOST_AFTER]), Ok(0));
        assert!(open(s));
    };
    let is_open = |start| blocker(range(start), Intent::Take { to: None }).is_some_and(|b| b.is_open());
    let before = s.take_ticket();
    enter(mine, false);
    let launch = || {
        enter(left, true);
        leave(s);
    };
    std::thread::scope(|scope| scope.spawn(launch).join().unwrap());
    release(s, false, before);
    assert!(is_open(mine) && is_open(left));
    let after = s.take_ticket();
    release(s, false, after);
    assert!(!is_open(mine) && !is_open(left));
    s.slot.timeline.reach(after);
    assert_eq!(blocker(range(left), Intent::Forget), None);
}
