//! Running a tool of somebody else, for no longer than the author waits.
//!
//! A tool has a process group of its own, so that with it ends whatever it has started. It is ended when its time is over,
//! and when somebody ends us: of Ctrl-C it hears nothing itself.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use sawpit_service::Shutdown;

/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Runs tools, each for at most `limit`.
#[derive(Clone, Copy)]
pub struct Runner {
    pub limit: Duration,
    /// What may be wrong where the time was over.
    pub suspicion: &'static str,
}

impl Runner {
    /// Runs a tool that tells the author how it goes.
    pub fn run(self, command: &mut Command, name: &str) -> Result<()> {
        let child = start(command, name)?;
        ensure!(self.wait(child, name)?.success(), "{name} failed: see above");
        Ok(())
    }

    /// Runs a tool that says something useful only when it fails.
    pub fn run_silently(self, command: &mut Command, name: &str) -> Result<()> {
        let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), name)?;
        let (errors, output) = (reader(child.stderr.take()), reader(child.stdout.take()));
        let ended = self.wait(child, name);
        let said = [errors, output].map(|reader| reader.join().unwrap_or_default()).concat();
        let said = String::from_utf8_lossy(&said);
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(anyhow!("{name} failed: {}", said.trim())),
            Err(error) if said.trim().is_empty() => Err(error),
            Err(error) => Err(anyhow!("{error}\n{}", said.trim())),
        }
    }

    /// Waits until it has ended, or ends it with all that it has started.
    fn wait(self, mut child: Child, name: &str) -> Result<ExitStatus> {
        let ended = self.ended(&mut child, name);
        if ended.is_err() {
            end_group(&child);
            // It was just ended.
            let _ = child.wait();
        }
        ended
    }

    fn ended(self, child: &mut Child, name: &str) -> Result<ExitStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = Instant::now() + self.limit;
        runtime.block_on(async {
            let shutdown = Shutdown::on_signals()?;
            loop {
                if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {name}"))? {
                    return Ok(status);
                }
                ensure!(!shutdown.is_requested(), "{name} was ended, as this program was");
                ensure!(Instant::now() < until, "{}", self.too_long(name));
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    fn too_long(self, name: &str) -> String {
        let seconds = self.limit.as_secs();
        format!("{name} had not ended after {seconds} s and was stopped: {}", self.suspicion)
    }
}

fn start(command: &mut Command, name: &str) -> Result<Child> {
    command.stdin(Stdio::null()).process_group(0).spawn().with_context(|| format!("cannot start {name}"))
}

/// The group has the number of its first process.
fn end_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Perhaps all of it has ended meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Reads beside the others: a tool that finds a full pipe waits.
fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is to show.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}
