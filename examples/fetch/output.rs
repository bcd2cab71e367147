//! Where the body of a response goes.

use std::{
    error::Error,
    fs::File,
    io::{self, Write},
    path::Path,
};

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Where it goes.
pub(crate) enum Output<'a> {
    Stdout,
    File(&'a Path),
    /// It is read and dropped.
    Nowhere,
}

/// Why it did not get there.
pub(crate) enum Broken {
    /// It cannot be written.
    Output(io::Error),
    /// It cannot be read.
    Response {
        /// So much was read and written.
        bytes: u64,
        /// Why not more.
        error: String,
    },
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Output<'_> {
    /// Writes the response's body, and its head before it if that is wanted; gives back the
    /// body's length.
    pub(crate) async fn write(
        &self,
        response: Response<Incoming>,
        with_head: bool,
    ) -> Result<u64, Broken> {
        let mut to: Box<dyn Write + Send> = match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => {
                let file = File::create(path).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                Box::new(file)
            }
            Self::Nowhere => Box::new(io::sink()),
        };
        if with_head {
            write_head(&response, &mut to)?;
        }
        let mut body = response.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        to.write_all(data)?;
                        bytes += data.len() as u64;
                    }
                }
                Err(error) => {
                    to.flush()?;
                    let error = chain(&error);
                    return Err(Broken::Response { bytes, error });
                }
            }
        }
        to.flush()?;
        Ok(bytes)
    }
}

fn write_head(response: &Response<Incoming>, to: &mut dyn Write) -> io::Result<()> {
    write!(to, "{:?} {}\r\n", response.version(), response.status())?;
    for (name, value) in response.headers() {
        write!(to, "{name}: ")?;
        to.write_all(value.as_bytes())?;
        to.write_all(b"\r\n")?;
    }
    to.write_all(b"\r\n")
}

/// An error with all its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
