//! Chapter 6: the file's bytes as numbers, 2048 rows of 4096 at a time, smoothed by a stencil on the device.
//!
//! Called by `main`. While the device works on a band, the CPU does the same in plain code; then all cells are compared.

use hmmrt::{ManagedVec, kernels};

use crate::input::Data;
use crate::meter::Meter;
use crate::{Outcome, Tour, plain};

const WIDTH: usize = 4096;
const ROWS: usize = 2048;

/// What the device computed last, and the same from plain code.
pub struct Results {
    /// In managed memory.
    pub managed: ManagedVec<f32>,
    /// In ordinary memory.
    pub plain: Vec<f32>,
}

/// Runs the stencil over the whole file, band by band.
pub fn stencil(tour: &mut Tour, data: &Data) -> Outcome<Results> {
    // Whole rows; a short last row is filled up with zeros. In and out take a quarter of the device's memory at most.
    let room = hmmrt::raw::device_info(0)?.memory_total as usize / (8 * size_of::<f32>() * WIDTH);
    let most = data.plain.len().div_ceil(WIDTH).min(ROWS).min(room) * WIDTH;
    let mut cells = ManagedVec::<f32>::zeroed(most)?;
    let mut out = ManagedVec::<f32>::zeroed(most)?;
    let mut plain_cells = vec![0.0; most];
    let mut plain_out = vec![0.0; most];
    tour.report.title("A stencil over the bytes as numbers: 4 bytes a cell, band by band");
    tour.report.map("in before", &cells)?;
    tour.report.map("out before", &out)?;
    let meter = Meter::start();
    let (mut bands, mut wrong) = (0, 0);
    for (band, plain_band) in data.managed().chunks(most).zip(data.plain.chunks(most)) {
        let len = band.len().div_ceil(WIDTH) * WIDTH;
        numbers(&mut cells[..len], band);
        kernels::stencil(&tour.stream, &mut out[..len], &cells[..len], WIDTH, len / WIDTH)?;
        numbers(&mut plain_cells[..len], plain_band);
        plain::stencil(&mut plain_out[..len], &plain_cells[..len], WIDTH);
        wrong += out.iter().zip(&plain_out).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        bands += 1;
    }
    let moved = meter.moved();
    tour.report.map("in after", &cells)?;
    tour.report.map("out after", &out)?;
    tour.report.moved(&moved, data.plain.len() * 4);
    tour.report.check(&format!("{bands} bands, every cell equal to the last bit"), wrong == 0);
    Ok(Results { managed: out, plain: plain_out })
}

/// Bytes to numbers; what is left over becomes zero.
fn numbers(cells: &mut [f32], bytes: &[u8]) {
    let (whole, rest) = cells.split_at_mut(bytes.len());
    for (cell, &byte) in whole.iter_mut().zip(bytes) {
        *cell = f32::from(byte);
    }
    rest.fill(0.0);
}
