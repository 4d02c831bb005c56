//! The picture: for each trace, each contender's stall in multiples of the oracle's, on a scale of powers of ten.

use crate::report::Row;
use plotters::prelude::*;
use std::path::Path;

type Anyhow = Box<dyn std::error::Error>;

/// Writes it as SVG.
pub fn draw(rows: &[Row], to: &Path) -> Result<(), Anyhow> {
    let names: Vec<&str> = rows.first().map(|r| r.of.iter().map(|(n, _)| *n).collect()).unwrap_or_default();
    let values: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            let least = row.least().max(1) as f64;
            names.iter().map(|n| row.stall(n).map_or(0.0, |s| (s as f64 / least).max(1.0))).collect()
        })
        .collect();
    let top = values.iter().flatten().fold(10.0_f64, |a, b| a.max(*b)) * 1.3;
    let area = SVGBackend::new(to, (1200, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Stall by trace, in multiples of the oracle's", ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..rows.len() as f64, (0.8..top).log_scale())?;
    let label = |x: &f64| {
        let at = x.floor() as usize;
        rows.get(at).filter(|_| (x.fract() - 0.5).abs() < 0.01).map_or(String::new(), |r| r.trace.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(rows.len() * 2 + 1)
        .x_label_formatter(&label)
        .y_desc("times the oracle's stall")
        .draw()?;
    let width = 0.8 / names.len().max(1) as f64;
    for (i, name) in names.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let bars = values.iter().enumerate().filter(|(_, v)| v[i] > 0.0).map(|(r, v)| {
            let left = r as f64 + 0.1 + i as f64 * width;
            Rectangle::new([(left, 0.8), (left + width * 0.9, v[i])], colour.filled())
        });
        chart
            .draw_series(bars)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
