//! Connections, plain ones and such with TLS.
//!
//! TLS is a feature of this example because it is a fifth of what a first run would compile.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;

/// The longest that making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(feature = "tls")]
pub(crate) type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
pub(crate) type Connector = HttpConnector;

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

/// Makes the connections that the command line asks for, or says why it cannot.
#[cfg(not(feature = "tls"))]
pub(crate) fn connector(cli: &crate::cli::Cli) -> Result<Connector, String> {
    let https = |url: &&http::Uri| url.scheme() == Some(&http::uri::Scheme::HTTPS);
    let asked = match cli.urls.iter().find(https) {
        Some(url) => url.to_string(),
        None if cli.cacert.is_some() => "--cacert".to_owned(),
        None => return Ok(tcp()),
    };
    Err(format!(
        "{asked} needs TLS, which was not compiled: add `--features tls` to `cargo run`"
    ))
}

#[cfg(feature = "tls")]
pub(crate) use self::tls::connector;

#[cfg(feature = "tls")]
mod tls {
    use std::{path::Path, sync::Arc};

    use hyper_rustls::HttpsConnectorBuilder;
    use rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    };
    use tower_http_retry::BoxError;

    use super::{Connector, tcp};
    use crate::cli::Cli;

    /// Makes the connections that the command line asks for, or says why it cannot.
    pub(crate) fn connector(cli: &Cli) -> Result<Connector, String> {
        let builder = HttpsConnectorBuilder::new();
        let builder = match &cli.cacert {
            None => builder
                .with_provider_and_webpki_roots(ring::default_provider())
                .map_err(|error| error.to_string())?,
            Some(path) => {
                let config = trusting(path);
                builder.with_tls_config(
                    config.map_err(|error| format!("--cacert {}: {error}", path.display()))?,
                )
            }
        };
        Ok(builder
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp()))
    }

    /// Trusts the certificate authorities in a PEM file.
    fn trusting(path: &Path) -> Result<ClientConfig, BoxError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            return Err("it holds no certificate".into());
        }
        Ok(
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth(),
        )
    }
}
