//! A certificate authority for the lifetime of a cluster, and a certificate and kubeconfig for each of its members.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::addresses::{API_SERVICE, GATEWAY, NodeId};
use super::layout::Layout;

/// The subject of a certificate, in Kubernetes' terms: user, group, and server names.
struct Identity {
    file: String,
    user: String,
    group: Option<&'static str>,
    serves_as: Vec<String>,
}

/// Members that only call the API server: certificate file, user, group.
const CLIENTS: [(&str, &str, Option<&str>); 6] = [
    ("admin", "admin", Some("system:masters")),
    ("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
    ("kube-controller-manager", "system:kube-controller-manager", None),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kube-proxy", "system:kube-proxy", None),
    ("coredns", "system:coredns", None),
];

pub(super) fn create(layout: &Layout, nodes: u8) -> Result<()> {
    let authority = authority()?;
    fs::write(layout.certificate("ca"), authority.pem())?;
    for identity in identities(nodes) {
        issue(layout, &authority, &identity)
            .with_context(|| format!("cannot issue a certificate for {}", identity.user))?;
    }
    let service_accounts = KeyPair::generate()?;
    write_secret(&layout.key("service-accounts"), &service_accounts.serialize_pem())?;
    fs::write(layout.service_account_public_key(), service_accounts.public_key_pem())?;
    Ok(())
}

fn identities(nodes: u8) -> Vec<Identity> {
    let clients = CLIENTS.map(|(file, user, group)| Identity {
        file: file.into(),
        user: user.into(),
        group,
        serves_as: Vec::new(),
    });
    let api_server = Identity {
        file: "kube-apiserver".into(),
        user: "kube-apiserver".into(),
        group: None,
        serves_as: [GATEWAY, API_SERVICE, Ipv4Addr::LOCALHOST]
            .map(|address| address.to_string())
            .into_iter()
            .chain(
                ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
                    .map(Into::into),
            )
            .collect(),
    };
    let kubelets = NodeId::all(nodes).map(|node| Identity {
        file: node.to_string(),
        user: format!("system:node:{node}"),
        group: Some("system:nodes"),
        serves_as: vec![node.to_string(), node.address().to_string()],
    });
    clients.into_iter().chain([api_server]).chain(kubelets).collect()
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "millrace local Kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn issue(layout: &Layout, authority: &CertifiedIssuer<'_, KeyPair>, identity: &Identity) -> Result<()> {
    let mut params = CertificateParams::new(identity.serves_as.clone())?;
    params.distinguished_name.push(DnType::CommonName, &identity.user);
    if let Some(group) = identity.group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    fs::write(layout.certificate(&identity.file), certificate.pem())?;
    write_secret(&layout.key(&identity.file), &key.serialize_pem())?;
    write_secret(&layout.kubeconfig(&identity.file), &kubeconfig(layout, &identity.file))
}

/// JSON is valid YAML, and needs no quoting rules.
fn kubeconfig(layout: &Layout, name: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "millrace-local",
        "contexts": [{"name": "millrace-local", "context": {"cluster": "millrace-local", "user": name}}],
        "clusters": [{"name": "millrace-local", "cluster": {
            "server": format!("https://{GATEWAY}:6443"),
            "certificate-authority": layout.certificate("ca"),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": layout.certificate(name),
            "client-key": layout.key(name),
        }}],
    });
    format!("{config:#}\n")
}

fn write_secret(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
