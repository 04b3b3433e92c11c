//! A certificate authority for one run: it signs the servers' certificates, and clients trust it alone.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::plan;
use crate::plan::Protocol;

/// Certificates could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key could not be made.
    #[error("can't make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused a configuration.
    #[error("can't set up TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// The authority of one run.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    trust: Trust,
}

/// What a client needs to believe in the run's servers. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    pem: Rc<str>,
}

impl Authority {
    /// Makes a key and a self-signed certificate.
    ///
    /// # Errors
    /// If the machine has no randomness, or the certificate can't be made.
    pub fn new() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        valid_at_any_time(&mut params);
        params
            .distinguished_name
            .push(DnType::CommonName, "halfopen run CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        Ok(Self {
            trust: Trust {
                roots: Arc::new(roots),
                pem: certificate.pem().into(),
            },
            issuer: Issuer::new(params, key),
        })
    }

    /// What clients need.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// A server's TLS configuration, with a certificate for its name, its services' names and its addresses.
    ///
    /// # Errors
    /// If a name can't stand in a certificate.
    pub fn server_config(&self, server: &plan::Server) -> Result<Arc<ServerConfig>, TlsError> {
        let (certificate, key) = self.certificate(server)?;
        let certificate: CertificateDer<'static> = certificate.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        // In the server's order, whatever the client's: HTTP/2 first, as Go's, nginx's and the API server's.
        config.alpn_protocols = [Protocol::H2, Protocol::H1]
            .into_iter()
            .filter(|protocol| server.protocols.contains(protocol))
            .map(alpn)
            .collect();
        // Nobody here resumes a session, and a ticket after the handshake would be data in flight that no request
        // sent.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The same for a server that is a program: its certificate and its key, in PEM.
    ///
    /// # Errors
    /// If a name can't stand in a certificate.
    pub fn server_pem(&self, server: &plan::Server) -> Result<(String, String), TlsError> {
        let (certificate, key) = self.certificate(server)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn certificate(&self, server: &plan::Server) -> Result<(Certificate, KeyPair), TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names_of(server))?;
        valid_at_any_time(&mut params);
        params
            .distinguished_name
            .push(DnType::CommonName, server.name.as_str());
        // Strict verifiers (RFC 5280; Python's since 3.13) want to be told whose key has signed it.
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate, key))
    }
}

impl Trust {
    /// The authority's certificate, for programs that read a CA file.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A client's TLS configuration that offers one protocol.
    ///
    /// # Errors
    /// If rustls finds no usable TLS version.
    pub fn client_config(&self, protocol: Protocol) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn(protocol)];
        // Every connection shakes hands in full, so that the first and the tenth take as long.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The name of a protocol in ALPN (RFC 7301's registry).
fn alpn(protocol: Protocol) -> Vec<u8> {
    match protocol {
        Protocol::H1 => b"http/1.1".to_vec(),
        Protocol::H2 => b"h2".to_vec(),
    }
}

/// Named here, never the process's default, which other code could change.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A virtual clock may begin in 1970.
fn valid_at_any_time(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(4096, 1, 1);
}

fn names_of(server: &plan::Server) -> Vec<String> {
    let mut names: BTreeSet<String> = server.tls_names.iter().cloned().collect();
    names.insert(server.name.clone());
    names.extend(server.listen.iter().map(|a| a.ip().to_string()));
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_is_a_pem_certificate_and_two_runs_differ() -> Result<(), TlsError> {
        let (one, other) = (Authority::new()?, Authority::new()?);
        assert!(
            one.trust()
                .pem()
                .starts_with("-----BEGIN CERTIFICATE-----\n")
        );
        assert_ne!(one.trust().pem(), other.trust().pem());
        Ok(())
    }
}
