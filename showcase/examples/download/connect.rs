//! Connections, plain ones and such with TLS.

use std::{path::Path, sync::Arc, time::Duration};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tower_http_retry::BoxError;

/// Makes connections whose peers are known by the authorities in `cacert`, or those of the system.
pub(crate) fn connector(cacert: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, BoxError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(Duration::from_secs(10)));
    let builder = HttpsConnectorBuilder::new();
    let builder = match cacert {
        Some(path) => builder.with_tls_config(trusting(path)?),
        None => match builder.with_provider_and_native_roots(ring::default_provider()) {
            Ok(builder) => builder,
            // A system without any.
            Err(_) => HttpsConnectorBuilder::new()
                .with_provider_and_webpki_roots(ring::default_provider())?,
        },
    };
    Ok(builder
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp))
}

fn trusting(path: &Path) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    let unread = |error| format!("{}: {error}", path.display());
    for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
        roots.add(certificate.map_err(unread)?)?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate", path.display()).into());
    }
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
