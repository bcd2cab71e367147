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

/// A certificate that nobody has signed but itself.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Makes a new key, and a certificate for it in the name of `localhost`.
    pub fn new() -> Self {
        Self::named("localhost")
    }

    /// Makes a new key, and a certificate for it in this name.
    pub fn named(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        }
    }

    fn roots(&self) -> RootCertStore {
        roots([self])
    }

    /// What makes TLS of the connections of a server that has this identity and speaks `protocol`
    /// (RFC 7301), to whoever comes.
    pub(super) fn acceptor(&self, protocol: &[u8]) -> TlsAcceptor {
        let mut config = self.config(ServerConfig::builder().with_no_client_auth());
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn config(&self, config: ConfigBuilder<ServerConfig, WantsServerCert>) -> ServerConfig {
        config
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap()
    }
}

fn roots<'a>(identities: impl IntoIterator<Item = &'a Identity>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for identity in identities {
        roots.add(identity.certificate.clone()).unwrap();
    }
    roots
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
    let acceptor = TlsAcceptor::from(Arc::new(identity.config(config)));
    Server::start(move |connection| {
        let handshake = acceptor.accept(connection.stream);
        async { drain(handshake.await?).await }
    })
    .await
}

/// A client's configuration that trusts this certificate and no other.
pub fn trusting(identity: &Identity) -> ClientConfig {
    trusting_all([identity])
}

/// A client's configuration that trusts these certificates and no other.
pub fn trusting_all<'a>(identities: impl IntoIterator<Item = &'a Identity>) -> ClientConfig {
    ClientConfig::builder()
        .with_root_certificates(roots(identities))
        .with_no_client_auth()
}
