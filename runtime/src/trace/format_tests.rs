//! What is packed is what is unpacked.

use super::*;

fn samples() -> Vec<What> {
    let (addr, len, copied, spared) = (0x7000_0000_1000, 5 << 20, 1 << 21, 4096);
    let mut all = Vec::new();
    for &why in Why::ALL {
        all.push(What::Begin { addr, len, why });
        all.push(What::End { addr, len, why });
        all.push(What::Taken { addr, len, why });
        all.extend([true, false].map(|write| What::Home { addr, len, why, write, copied, spared }));
        for &sent in Sent::ALL {
            all.push(What::Out { addr, len, why, device: 7, sent, copied, spared });
        }
        for mode in [AccessMode::Read, AccessMode::Write, AccessMode::ReadWrite] {
            all.push(What::Acquire { addr, len, why, device: 0, stream: 1023, mode });
        }
        for failed in [true, false] {
            all.push(What::Acquired { why, device: 3, stream: 9, ranges: 2, took: u64::MAX, failed });
        }
        all.push(What::Release { why, device: 2, stream: 8, ticket: 77 });
    }
    for (write, answered) in [(true, true), (true, false), (false, true), (false, false)] {
        all.push(What::Fault { addr, write, answered, took: 9, waited: 8 });
    }
    for device in [None, Some(0), Some(7)] {
        all.push(What::Wait { stream: device, took: 5 });
        all.push(What::Prefetch { addr, len, device, stream: 4 });
        all.push(What::Advice { addr, len, device, advice: 9 });
    }
    all.extend([
        What::Discard { addr, len, spared },
        What::Launch { device: 1, stream: 2, kernel: u32::MAX },
        What::Kernel { kernel: 5, name: Name::new("saxpy") },
        What::Reached { stream: 3, ticket: 4 },
        What::Device { device: 1, memory: u64::MAX },
        What::Error { code: -14 },
    ]);
    all
}

#[test]
fn records_come_back_as_they_were() {
    for what in samples() {
        let event = Event { time: 12345, thread: 4_194_304, what };
        assert_eq!(Event::unpack(event.pack()), Some(event));
    }
}

#[test]
fn names_are_cut_between_characters() {
    for (text, kept) in [("", ""), ("saxpy", "saxpy"), ("12345678", "12345678")] {
        assert_eq!(Name::new(text).to_string(), kept);
    }
    let long = "ä".repeat(40);
    assert_eq!(Name::new(&long).to_string(), "ä".repeat(16));
    assert_eq!(Name::new(&format!("a{long}")).to_string(), format!("a{}", "ä".repeat(15)));
}

#[test]
fn codes_are_their_own() {
    for &why in Why::ALL {
        assert_eq!(Why::of(why as u8), Some(why));
    }
    assert!(Why::of(Why::ALL.len() as u8).is_none());
}
