//! Container images without a registry: one static binary in an empty file system, assembled by `buildah` into an OCI
//! archive, tagged by the hash of its content.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::cluster::LocalCluster;
use crate::programs::{Profile, Programs};
use crate::progress::Progress;
use crate::{command, hash};

pub const PAUSE_CONTAINERFILE: &str = "FROM scratch\nCOPY pause /pause\nUSER 65532\nENTRYPOINT [\"/pause\"]\n";

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A signature policy is required even if nothing is pulled.
const POLICY: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;

/// Where images are delivered to be available on nodes.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// Imported into every node.
    Nodes(&'a LocalCluster),
    /// Pushed to `HOST[:PORT]/PATH`, from where the nodes pull.
    Registry(&'a str),
}

/// The project's two images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    pub broker: Image,
    pub operator: Image,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub repository: String,
    pub tag: String,
    /// Uncompressed.
    pub bytes: u64,
}

impl Image {
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

impl Images {
    /// Compiles broker and operator, builds their images and delivers them.
    pub fn deliver(destination: Destination<'_>, profile: Profile, progress: &Progress) -> Result<Self> {
        let programs = Programs::compile(profile, progress)?;
        progress.step("make images of them", Duration::from_secs(10), || Self::assemble(&programs, destination))
    }

    fn assemble(programs: &Programs, destination: Destination<'_>) -> Result<Self> {
        let deliver = |name: &str, containerfile: &str| -> Result<Image> {
            let program = programs.path(name)?;
            let file = Path::new(WORKSPACE).join(containerfile);
            let containerfile = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            Contents { program, containerfile: &containerfile }.deliver(destination, name)
        };
        Ok(Self {
            broker: deliver("millrace-broker", "broker/Containerfile")?,
            operator: deliver("millrace-operator", "operator/Containerfile")?,
        })
    }
}

/// The content of an image: one program and its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    pub program: &'a Path,
    pub containerfile: &'a str,
}

impl Contents<'_> {
    fn deliver(&self, destination: Destination<'_>, name: &str) -> Result<Image> {
        let host = match destination {
            Destination::Nodes(_) => "localhost",
            Destination::Registry(registry) => registry,
        };
        let image =
            Image { repository: format!("{host}/{name}"), tag: self.hash()?, bytes: fs::metadata(self.program)?.len() };
        let reference = image.reference();
        match destination {
            Destination::Nodes(cluster) if cluster.has_image(&reference)? => {}
            Destination::Nodes(cluster) => cluster.load_image(self.archive(&reference)?.path())?,
            Destination::Registry(_) => self.push(&reference, &format!("docker://{reference}"))?,
        }
        Ok(image)
    }

    /// An OCI archive with `reference` as its name.
    pub fn archive(&self, reference: &str) -> Result<NamedTempFile> {
        let archive = NamedTempFile::with_suffix(".oci.tar")?;
        // An empty file is not an archive; the name is kept, the file is made by buildah.
        fs::remove_file(archive.path())?;
        self.push(reference, &format!("oci-archive:{}:{reference}", archive.path().display()))?;
        Ok(archive)
    }

    /// Builds the image and pushes it to `target`. Everything else is gone afterwards.
    fn push(&self, reference: &str, target: &str) -> Result<()> {
        let work = tempfile::tempdir()?;
        let context = work.path().join("context");
        fs::create_dir(&context)?;
        fs::write(context.join("Containerfile"), self.containerfile)?;
        let name = self.program.file_name().context("a program without a name")?;
        fs::copy(self.program, context.join(name))
            .with_context(|| format!("cannot copy {}", self.program.display()))?;
        fs::write(work.path().join("policy.json"), POLICY)?;
        // Without it buildah leaves a network configuration in /etc.
        let networks = work.path().join("networks");
        fs::write(
            work.path().join("containers.conf"),
            format!("[network]\nnetwork_config_dir = \"{}\"\n", networks.display()),
        )?;
        let buildah = |subcommand: &str| {
            let mut command = Command::new("buildah");
            command.env("CONTAINERS_CONF", work.path().join("containers.conf"));
            command.arg("--root").arg(work.path().join("storage")).arg("--runroot").arg(work.path().join("run"));
            command
                .args(["--storage-driver=vfs", subcommand, "--quiet", "--signature-policy"])
                .arg(work.path().join("policy.json"));
            command
        };
        command::output(buildah("build").args(["--isolation=chroot", "--tag", reference]).arg(&context))?;
        command::output(buildah("push").args([reference, target])).map(drop)
    }

    fn hash(&self) -> Result<String> {
        let program = fs::read(self.program).with_context(|| format!("cannot read {}", self.program.display()))?;
        Ok(hash::short([self.containerfile.as_bytes(), &program]))
    }
}
