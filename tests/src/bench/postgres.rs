//! A PostgreSQL of one's own: a private cluster in a directory, reached by a socket there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Process, StartError};

/// Where Debian puts each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The hot row, and where its reservations go.
const SCHEMA: &str = "
    CREATE TABLE stock (sku int PRIMARY KEY, qty bigint NOT NULL);
    CREATE TABLE cart (
        id bigserial PRIMARY KEY,
        sku int NOT NULL,
        customer text NOT NULL,
        reserved_at timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO stock SELECT sku, 1000000000 FROM generate_series(1, 10000) AS sku;
    ANALYZE stock;
";

/// A running cluster, gone with its directory.
#[derive(Debug)]
pub struct Postgres {
    /// The server.
    pub process: Process,
    programs: PathBuf,
    dir: PathBuf,
    version: String,
    user: Option<User>,
}

/// Somebody who has no rights.
#[derive(Clone, Copy, Debug)]
struct User {
    id: u32,
    group: u32,
}

impl Postgres {
    /// Makes a cluster in `dir/postgres` with everything as PostgreSQL comes, `fsync` on, and room
    /// for 300 clients.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    ///
    /// # Panics
    /// The cluster cannot be made.
    pub async fn start(dir: &Path) -> Result<Self, StartError> {
        let programs = programs().ok_or_else(|| StartError::NotBuilt {
            what: "PostgreSQL (apt-get install postgresql)",
            path: VERSIONS.into(),
        })?;
        let dir = dir.join("postgres");
        fs::create_dir_all(&dir).expect("a directory for PostgreSQL");
        // It refuses to run as root, and to use a directory that others can read.
        let user = rustix::process::getuid().is_root().then(unprivileged_user);
        if let Some(User { id, group }) = user {
            chown(&dir, Some(id), Some(group)).expect("give PostgreSQL its directory");
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("set permissions");
        let init = ["--auth=trust", "--username=bench", "--encoding=UTF8", "--no-locale", "-D"];
        let mut initdb = as_user(user, &programs.join("initdb"));
        run(initdb.args(init).arg(dir.join("data")));
        let (server, log) = (server(&programs, &dir, user), dir.with_extension("log"));
        let process = Process::spawn("postgres", server, &log, None)?;
        let mut postgres = Self { process, programs, dir, version: String::new(), user };
        postgres.until_ready().await?;
        postgres.sql(SCHEMA);
        postgres.version = postgres.sql("SHOW server_version");
        Ok(postgres)
    }

    async fn until_ready(&mut self) -> Result<(), StartError> {
        let mut ready = self.client("pg_isready");
        ready.arg("-q");
        let mut probe = || {
            let is_ready = ready.status().is_ok_and(|status| status.success());
            std::future::ready(is_ready.then_some(()))
        };
        self.process.until_ready(&mut probe).await
    }

    /// Where its socket is.
    pub fn socket(&self) -> &Path {
        &self.dir
    }

    /// One of its client programs, told where the server is.
    pub fn client(&self, program: &str) -> Command {
        let mut command = as_user(self.user, &self.programs.join(program));
        command.env("PGHOST", &self.dir).env("PGUSER", "bench").env("PGDATABASE", "postgres");
        command
    }

    fn sql(&self, sql: &str) -> String {
        let mut psql = self.client("psql");
        run(psql.args(["-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c"]).arg(sql))
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn server(programs: &Path, dir: &Path, user: Option<User>) -> tokio::process::Command {
    let mut command = as_user(user, &programs.join("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir);
    command.args(["-c", "listen_addresses=", "-c", "max_connections=300"]);
    command.into()
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?;
    let with_number = |path: PathBuf| {
        let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
        path.join("bin/postgres").is_file().then_some((number, path))
    };
    let paths = versions.filter_map(|entry| Some(entry.ok()?.path()));
    Some(paths.filter_map(with_number).max()?.1.join("bin"))
}

/// `postgres`, whom the package makes, else `nobody`.
fn unprivileged_user() -> User {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let id = |place| line.split(':').nth(place)?.parse().ok();
        Some(User { id: id(2)?, group: id(3)? })
    };
    entry("postgres").or_else(|| entry("nobody")).expect("a user without rights")
}

fn as_user(user: Option<User>, program: &Path) -> Command {
    let Some(User { id, group }) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={id}")).arg(format!("--regid={group}"));
    command.arg("--clear-groups").arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("run a program of PostgreSQL");
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {complaint}");
    said.trim().to_owned()
}
