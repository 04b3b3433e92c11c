//! `--report FORMAT=FILE`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Format, formats, names};
use crate::verdict::CaseResult;

/// A format and the file it goes to; `-` is standard output.
#[derive(Clone)]
pub struct ReportTarget {
    /// The format.
    pub format: &'static Format,
    /// The file.
    pub file: PathBuf,
}

/// What is wrong with a `FORMAT=FILE`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReportTargetError {
    /// There is no `=`, or nothing beside it.
    #[error("`{0}` is not FORMAT=FILE; for example json=result.json")]
    Shape(String),
    /// No such format.
    #[error("no report format `{name}`; there are {known}")]
    Format {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl std::fmt::Debug for ReportTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.format.name, self.file.display())
    }
}

impl FromStr for ReportTarget {
    type Err = ReportTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split_once('=')
            .filter(|(name, file)| !name.is_empty() && !file.is_empty());
        let (name, file) = parts.ok_or_else(|| ReportTargetError::Shape(text.to_owned()))?;
        let format = formats().iter().find(|format| format.name == name);
        let format = format.ok_or_else(|| ReportTargetError::Format {
            name: name.to_owned(),
            known: names().collect::<Vec<_>>().join(", "),
        })?;
        let file = file.into();
        Ok(Self { format, file })
    }
}

impl ReportTarget {
    /// Whether it goes to standard output.
    #[must_use]
    pub fn is_standard_output(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The file however it was spelled, so that two targets can be told to be one; `None` for standard output.
    ///
    /// # Errors
    /// If its folder is not there, or can't be read.
    pub fn place(&self) -> io::Result<Option<PathBuf>> {
        if self.is_standard_output() {
            return Ok(None);
        }
        if let Ok(there) = self.file.canonicalize() {
            return Ok(Some(there));
        }
        let name = self.file.file_name().unwrap_or_default();
        Ok(Some(self.folder().canonicalize()?.join(name)))
    }

    /// The folder that the file is in, as it was spelled.
    fn folder(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    /// Whether it shows what happened by time, so that results must have their history.
    #[must_use]
    pub fn shows_history(&self) -> bool {
        (self.format.new)().shows_history()
    }

    /// Opens the file, so that what can't be written is known before a run instead of after it. What was in the file is
    /// gone: an earlier run's report must not be taken for this one's.
    ///
    /// # Errors
    /// If the file can't be made or opened.
    pub fn open(&self) -> io::Result<OpenReport> {
        let file = match self.is_standard_output() {
            true => None,
            false => Some(File::create(&self.file)?),
        };
        Ok(OpenReport {
            target: self.clone(),
            file,
        })
    }
}

/// A report whose file is open.
#[derive(Debug)]
pub struct OpenReport {
    /// Where it goes.
    pub target: ReportTarget,
    /// `None` for standard output.
    file: Option<File>,
}

impl OpenReport {
    /// Writes the report to its file, or to `standard_output`.
    ///
    /// # Errors
    /// If that can't be written.
    pub fn write(&self, results: &[CaseResult], standard_output: &mut dyn Write) -> io::Result<()> {
        let mut report = (self.target.format.new)();
        if self.file.is_some() {
            report.lies_in(self.target.folder());
        }
        match &self.file {
            None => {
                report.write(results, standard_output)?;
                standard_output.flush()
            }
            Some(file) => {
                let mut out = BufWriter::new(file);
                report.write(results, &mut out)?;
                out.flush()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_may_contain_an_equals_sign() -> Result<(), ReportTargetError> {
        let target: ReportTarget = "json=out/retries2=9.json".parse()?;
        assert_eq!(target.format.name, "json");
        assert_eq!(target.file, Path::new("out/retries2=9.json"));
        Ok(())
    }

    #[test]
    fn what_is_not_a_target_is_refused_with_what_would_be() {
        let told = |text: &str| {
            text.parse::<ReportTarget>()
                .map_err(|error| error.to_string())
                .err()
        };
        let shape = |text| {
            Some(format!(
                "`{text}` is not FORMAT=FILE; for example json=result.json"
            ))
        };
        assert_eq!(
            ["json", "=x", "json="].map(told),
            ["json", "=x", "json="].map(shape)
        );
        let known: Vec<&str> = names().collect();
        let unknown = format!("no report format `xml`; there are {}", known.join(", "));
        assert_eq!(told("xml=x"), Some(unknown));
    }
}
