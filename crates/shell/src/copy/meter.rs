//! The progress of a COPY: rows, rate and the time that is left, on the terminal and in RATEFILE.

use super::CopyError;
use super::options::CopyOptions;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Instant;

/// Counts rows and shows them.
pub(super) struct Meter {
    bar: ProgressBar,
    rates: Option<(String, File)>,
    started: Instant,
    reported: Instant,
    reported_rows: u64,
    every: std::time::Duration,
    rows: u64,
}

impl Meter {
    /// A meter of work that is done at position `total` of its bar; `None` when that is not known. The bar is drawn
    /// only on a terminal.
    ///
    /// # Errors
    /// When RATEFILE cannot be opened.
    pub(super) fn new(total: Option<u64>, options: &CopyOptions) -> Result<Meter, CopyError> {
        let rates = match &options.rate_file {
            Some(name) => {
                let file = OpenOptions::new().create(true).append(true).open(name);
                Some((name.clone(), file.map_err(|cause| CopyError::file("write", name, cause))?))
            }
            None => None,
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = match total {
            Some(_) => "{bar:30} {percent:>3} %  {msg}  {elapsed} gone, {eta} left",
            None => "{spinner} {msg}  {elapsed} gone",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        let started = Instant::now();
        let every = options.report_every;
        Ok(Meter { bar, rates, started, reported: started, reported_rows: 0, every, rows: 0 })
    }

    /// The bar, for what moves it.
    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Rows counted.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Counts rows, and reports when it is time to.
    ///
    /// # Errors
    /// When RATEFILE cannot be written.
    pub(super) fn count(&mut self, rows: u64) -> Result<(), CopyError> {
        self.rows += rows;
        if self.reported.elapsed() >= self.every { self.report() } else { Ok(()) }
    }

    fn report(&mut self) -> Result<(), CopyError> {
        let (now, rate) = (Instant::now(), |rows: u64, seconds: f64| rows as f64 / seconds.max(1e-3));
        let current = rate(self.rows - self.reported_rows, (now - self.reported).as_secs_f64());
        let average = rate(self.rows, (now - self.started).as_secs_f64());
        (self.reported, self.reported_rows) = (now, self.rows);
        self.bar.set_message(format!("{} rows, {current:.0} rows/s", self.rows));
        if let Some((name, file)) = &mut self.rates {
            let line =
                format!("Processed: {} rows; Rate: {current:.0} rows/s; Avg. rate: {average:.0} rows/s", self.rows);
            writeln!(file, "{line}").map_err(|cause| CopyError::file("write", name, cause))?;
        }
        Ok(())
    }

    /// Takes the bar away; returns the seconds that it took, and rows per second.
    ///
    /// # Errors
    /// When RATEFILE cannot be written.
    pub(super) fn finish(&mut self) -> Result<(f64, f64), CopyError> {
        self.report()?;
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        Ok((seconds, self.rows as f64 / seconds.max(1e-3)))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
