//! TLS servers, and the certificates that they need.
//!
//! What fails in a handshake that is not even begun is a script: one that answers in plain text,
//! for instance.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{WantsServerCert, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;

use super::{Server, drain};

/// A certificate for `localhost` that nobody has signed but itself.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Makes a new key, and a certificate for it.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}

/// Starts a server that completes the handshake and never answers.
pub async fn server(identity: &Identity) -> Server {
    start(identity, ServerConfig::builder().with_no_client_auth()).await
}

/// Starts a server that accepts no client without a certificate signed by this identity.
pub async fn server_for_known_clients(identity: &Identity) -> Server {
    let verifier = WebPkiClientVerifier::builder(Arc::new(identity.roots()));
    let config = ServerConfig::builder().with_client_cert_verifier(verifier.build().unwrap());
    start(identity, config).await
}

async fn start(
    identity: &Identity,
    config: ConfigBuilder<ServerConfig, WantsServerCert>,
) -> Server {
    let config = config
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |connection| {
        let handshake = acceptor.accept(connection.stream);
        async { drain(handshake.await?).await }
    })
    .await
}

/// A client's configuration that trusts this certificate and no other.
pub fn trusting(identity: &Identity) -> ClientConfig {
    ClientConfig::builder()
        .with_root_certificates(identity.roots())
        .with_no_client_auth()
}
