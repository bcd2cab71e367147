//! A file that is there when all of it is.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// A file that is being written beside the place where it will be.
pub(crate) struct Part {
    to: PathBuf,
    part: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Part {
    pub(crate) fn of(to: &Path) -> io::Result<Self> {
        let name = to.file_name().ok_or_else(|| {
            let kind = io::ErrorKind::InvalidInput;
            io::Error::new(kind, "it names no file")
        })?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}.part", std::process::id()));
        let part = to.with_file_name(beside);
        let file = File::options().write(true).create_new(true).open(&part)?;
        Ok(Self {
            to: to.to_owned(),
            part,
            file: Some(BufWriter::new(file)),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    /// All of it is there.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
        }
        fs::rename(&self.part, &self.to)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Closed first, as some systems want it.
        if let Some(file) = self.file.take() {
            drop(file.into_parts());
        }
        // Gone already if it was finished.
        let _ = fs::remove_file(&self.part);
    }
}
