//! The files that programs of a lab find in place of the machine's own: names, no resolver, the certificate authority.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::{Gid, Uid, chown};

use crate::lab::LabError;
use crate::linux::LinuxError;
use crate::plan::LabPlan;

/// Labs that one process has made files for.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A folder on the lab's own tmpfs; removed with this.
#[derive(Debug)]
pub(in crate::lab) struct Files {
    folder: PathBuf,
    on_machine: bool,
}

impl Files {
    /// Writes the files for the programs of `plan`, which run on the machine itself or `in_guest`.
    pub(in crate::lab) fn write(
        plan: &LabPlan,
        ca: &str,
        in_guest: bool,
    ) -> Result<Self, LabError> {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let files = Self {
            folder: PathBuf::from(format!("/run/halfopen-{number}")),
            on_machine: !in_guest,
        };
        files.fill(plan, ca).map_err(LinuxError::kernel(format!(
            "writing to {}",
            files.folder.display()
        )))?;
        Ok(files)
    }

    fn fill(&self, plan: &LabPlan, ca: &str) -> io::Result<()> {
        fs::create_dir(&self.folder)?;
        fs::create_dir(self.dev())?;
        fs::create_dir(self.empty())?;
        fs::write(self.hosts(), hosts(plan))?;
        fs::write(
            self.resolver(),
            "# There is no name server here: names stand in /etc/hosts.\n",
        )?;
        fs::write(self.ca(), ca)
    }

    /// In place of /etc/hosts.
    pub(super) fn hosts(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    /// In place of /etc/resolv.conf.
    pub(super) fn resolver(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    /// The certificate authority.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A folder with nothing in it.
    pub(super) fn empty(&self) -> PathBuf {
        self.folder.join("empty")
    }

    /// Whether programs run on the machine itself, and not in a guest.
    pub(super) fn on_machine(&self) -> bool {
        self.on_machine
    }

    /// Where a program's /dev is furnished.
    pub(super) fn dev(&self) -> PathBuf {
        self.folder.join("dev")
    }
}

/// What is a server's own.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// A folder to write to.
    pub(super) data: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Whose it is, where it is not the lab process's own.
    pub(super) user: Option<(Uid, Gid)>,
}

impl Own {
    /// An empty folder, in place of what is there.
    pub(super) fn empty(&self) -> io::Result<()> {
        if self.data.exists() {
            fs::remove_dir_all(&self.data)?;
        }
        fs::create_dir(&self.data)?;
        // PostgreSQL refuses a folder of which others can read.
        fs::set_permissions(&self.data, fs::Permissions::from_mode(0o700))?;
        match self.user {
            Some((user, group)) => Ok(chown(&self.data, Some(user), Some(group))?),
            None => Ok(()),
        }
    }
}

impl Files {
    /// Makes what is the own of a server: an empty folder, its certificate and its key.
    pub(super) fn own(
        &self,
        server: &str,
        (certificate, key): (String, String),
        user: Option<(Uid, Gid)>,
    ) -> io::Result<Own> {
        let place = self.folder.join("servers").join(server);
        fs::create_dir_all(&place)?;
        let own = Own {
            data: place.join("data"),
            certificate: place.join("cert.pem"),
            key: place.join("key.pem"),
            user,
        };
        own.empty()?;
        fs::write(&own.certificate, certificate)?;
        fs::write(&own.key, key)?;
        Ok(own)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One address a name, the one that a URL with it leads to: a program must not come another way than the plan's.
fn hosts(plan: &LabPlan) -> String {
    let services = plan.services.iter().map(|s| (s.address.ip(), &s.name));
    let servers = plan
        .servers
        .iter()
        .filter_map(|s| Some((s.listen.first()?.ip(), &s.name)));
    let nodes = plan
        .nodes
        .iter()
        .map(|n| (IpAddr::from(n.address), &n.name));
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for (address, name) in services.chain(servers).chain(nodes) {
        text += &format!("{address} {name}\n");
    }
    text
}
