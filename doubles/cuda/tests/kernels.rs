//! Every kernel against plain code, over memory in one piece and over memory in blocks that are apart on the host.

mod common;

use common::*;

const LENGTHS: [usize; 8] = [0, 1, 7, 8, 255, 4096, 5003, BLOCK / 4 * 2 + 77];

fn mix(word: u64, index: u64) -> u64 {
    let z = word.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn noise<T>(n: usize, of: impl Fn(u64) -> T) -> Vec<T> {
    (0..n as u64).map(|i| of(mix(0x5eed, i))).collect()
}

const BYTE: fn(u64) -> u8 = |v| v as u8;
const WORD: fn(u64) -> u32 = |v| v as u32;
const FLOAT: fn(u64) -> f32 = |v| v as i32 as f32 * 1e-5;

/// Room in two places: an allocation, and blocks, from `skip` bytes on.
struct Places<'a> {
    on: &'a On,
    at: [u64; 2],
    blocks: usize,
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        let [alloc, blocks] = self.at;
        assert_eq!(self.on.cuda.cuMemFree_v2(alloc), SUCCESS);
        self.on.unblock(blocks, self.blocks);
    }
}

fn places(on: &On, size: usize) -> Places<'_> {
    let blocks = size.div_ceil(BLOCK).max(1);
    Places { on, at: [on.alloc(blocks * BLOCK), on.blocks(blocks)], blocks }
}

/// Puts values there.
fn put<T>(on: &On, at: u64, values: &[T]) {
    assert_eq!(on.cuda.cuMemcpyHtoD_v2(at, values.as_ptr().cast(), size_of_val(values)), SUCCESS);
}

/// Runs `check` with addresses in both places, for two buffers of that many bytes and a small one.
fn both(size: usize, check: impl Fn(&On, u64, u64, u64)) {
    let on = on(0);
    let (a, b, c) = (places(&on, size + 16), places(&on, size + 16), places(&on, 4096));
    for i in 0..2 {
        check(&on, a.at[i], b.at[i], c.at[i]);
    }
}

#[test]
fn fill_and_increment() {
    let _turn = alone();
    for n in LENGTHS {
        both(n * 4, |on, a, _, _| {
            put(on, a, &vec![7u32; n + 1]);
            on.run("hmm_fill", &mut [a, 0xdead_beef, n as u64]);
            on.run("test_slow_increment", &mut [a, n as u64, 0]);
            on.run("inc", &mut [a, n as u64]);
            let got = on.get::<u32>(a, n + 1);
            // One thread for each word of the last, and there are 1000.
            assert!(got[..n].iter().enumerate().all(|(i, &v)| v == 0xdead_bef0 + u32::from(i < 1000)));
            assert_eq!(got[n], 7);
        });
    }
}

#[test]
fn copies_and_bytes() {
    let _turn = alone();
    for n in LENGTHS {
        both(n, |on, a, b, _| {
            for (from, to) in [(0, 0), (1, 0), (3, 5)] {
                let bytes = noise(n, BYTE);
                put(on, a + from, &bytes);
                put(on, b, &vec![9u8; n + 6]);
                on.run("hmm_copy", &mut [b + to, a + from, n as u64]);
                assert_eq!(on.get::<u8>(b + to, n), bytes);
                assert_eq!(on.get::<u8>(b + to + n as u64, 1), [9]);
            }
            on.run("test_fill_bytes", &mut [b, n as u64, 250]);
            on.run("test_add_bytes", &mut [b, n as u64, 7]);
            assert!(on.get::<u8>(b, n).iter().all(|&v| v == 1));
        });
    }
    both(4000, |on, a, b, _| {
        put(on, a, &noise(1000, WORD));
        on.run("test_slow_copy", &mut [b, a, 1000, 1]);
        assert_eq!(on.get::<u32>(b, 1000), noise(1000, WORD));
    });
}

#[test]
fn saxpy_and_triad_round_twice() {
    let _turn = alone();
    for n in LENGTHS {
        both(n * 4, |on, a, b, _| {
            let x = noise(n, FLOAT);
            let y: Vec<f32> = x.iter().map(|v| v * 0.37 - 1.0).collect();
            put(on, a, &y);
            put(on, b, &x);
            on.run("hmm_saxpy", &mut [a, b, u64::from(1.1f32.to_bits()), n as u64]);
            let expected: Vec<f32> = y.iter().zip(&x).map(|(y, x)| y + 1.1 * x).collect();
            assert_eq!(on.get::<f32>(a, n), expected);
        });
    }
    both(3 * 8 * 1000, |on, a, _, _| {
        let (b, c): (Vec<f64>, Vec<f64>) =
            noise(1000, |v| (v as i32 as f64 * 1e-7, v as f64)).into_iter().unzip();
        put(on, a + 8000, &b);
        put(on, a + 16000, &c);
        on.run("triad", &mut [a, a + 8000, a + 16000, 1.1f64.to_bits(), 1000]);
        let expected: Vec<f64> = b.iter().zip(&c).map(|(b, c)| b + 1.1 * c).collect();
        assert_eq!(on.get::<f64>(a, 1000), expected);
    });
}

#[test]
fn sum_histogram_and_checksum_add() {
    let _turn = alone();
    for n in LENGTHS {
        both(n * 4, |on, a, _, out| {
            let x = noise(n, |v| v as u32 | 1 << 31);
            put(on, a, &x);
            put(on, out, &[5u64]);
            on.run("hmm_sum", &mut [out, a, n as u64]);
            assert_eq!(on.get::<u64>(out, 1)[0], 5 + x.iter().map(|&v| u64::from(v)).sum::<u64>());

            for skip in [0, 3] {
                let x = noise(n, BYTE);
                put(on, a + skip, &x);
                put(on, out, &[1u64; 256]);
                on.run("hmm_histogram", &mut [out, a + skip, n as u64]);
                let mut bins = [1u64; 256];
                x.iter().for_each(|&b| bins[usize::from(b)] += 1);
                assert_eq!(on.get::<u64>(out, 256), bins);

                put(on, out, &[9u64]);
                on.run("hmm_checksum", &mut [out, a + skip, n as u64]);
                let words = x.chunks(8).map(|c| c.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b)));
                let expected = words.enumerate().fold(9, |s: u64, (i, w)| s.wrapping_add(mix(w, i as u64)));
                assert_eq!(on.get::<u64>(out, 1)[0], expected);
            }
        });
    }
    both(8, |on, a, _, _| {
        put(on, a, &[41u64]);
        on.run("test_add_word", &mut [a]);
        assert_eq!(on.get::<u64>(a, 1), [42]);
    });
    // Counted apart from this code, from the definition in kernels/README.md.
    both(21, |on, a, _, out| {
        put(on, a, &Vec::from_iter(0..21u8));
        put(on, out, &[0u64]);
        on.run("hmm_checksum", &mut [out, a, 21]);
        assert_eq!(on.get::<u64>(out, 1), [0xa3da_445b_5c89_a8ad]);
    });
}

#[test]
fn stencil_copies_the_border() {
    let _turn = alone();
    for (w, h) in [(0, 3), (3, 0), (1, 1), (1, 5), (2, 4), (4, 2), (3, 3), (17, 5), (1023, 1027)] {
        both(w * h * 4, |on, a, b, _| {
            let input = noise(w * h, FLOAT);
            put(on, a, &input);
            on.run("hmm_stencil", &mut [b, a, w as u64, h as u64]);
            for (i, &v) in on.get::<f32>(b, w * h).iter().enumerate() {
                let (row, col) = (i / w, i % w);
                let border = row == 0 || col == 0 || row + 1 == h || col + 1 == w;
                let mean = || (input[i] + input[i - 1] + input[i + 1] + input[i - w] + input[i + w]) * 0.2;
                assert_eq!(v, if border { input[i] } else { mean() }, "{w}x{h} at {row},{col}");
            }
        });
    }
}

#[test]
fn list_walk_goes_through_the_copy() {
    let _turn = alone();
    // Host addresses that are nobody's, and nodes in two blocks.
    const HOST: u64 = 0x7000_0000_0000;
    both(2 * BLOCK, |on, a, _, out| {
        let far = BLOCK as u64 / 16 + 3;
        let node = |next: Option<u64>, value: u64| [next.map_or(0, |i| HOST + 16 * i), value];
        put(on, a, &[node(Some(far), u64::MAX), node(None, 5)]);
        put(on, a + 16 * far, &[node(Some(1), 3)]);
        let walk = |head: u64, max: u64| {
            on.run("hmm_list_walk", &mut [out, a, HOST, head, max]);
            on.get::<u64>(out, 2)
        };
        assert_eq!(walk(HOST, 100), [3, 7]); // the sum wraps
        assert_eq!(walk(HOST, 2), [2, 2]);
        assert_eq!(walk(HOST, 0), [0, 0]);
        assert_eq!(walk(0, 100), [0, 0]);
    });
}
