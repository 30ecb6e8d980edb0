//! An empty WASI, for components whose toolchain cannot do without one.
//!
//! No files, no network, no environment, no arguments, no input, and no sleeping: a guest that waits in the
//! host is not reached by its deadline, so the two calls that make a timer fail. What is left are the
//! clocks and random numbers that language runtimes need to start. Both outputs go to the plugin's log.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use sawpit_model::Level;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::host::GuestState;

/// Bytes of one output that are kept between two calls; further ones are lost.
const KEPT_BYTES: usize = 16 * 1024;
/// Most random bytes of one call: they are made in the host, past the guest's deadline.
const RANDOM_BYTES: u64 = 64 * 1024;
/// Most handles that an instance may hold: they live in the host's memory, which the limiter does not see.
const RESOURCES: usize = 1_000;
/// The interface with the timers, in the version that wasmtime-wasi links.
const TIMERS: &str = "wasi:clocks/monotonic-clock@0.2.12";

/// Links all of WASI that an empty one has.
pub fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut timers = linker.instance(TIMERS)?;
    for name in ["subscribe-instant", "subscribe-duration"] {
        timers.func_wrap(name, |_, (_,): (u64,)| -> wasmtime::Result<(Resource<DynPollable>,)> {
            Err(wasmtime::Error::msg("a plugin cannot sleep or set a timer"))
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// The WASI of one instance; made when it is first used.
pub struct Wasi {
    made: Option<Box<(WasiCtx, ResourceTable)>>,
    out: Captured,
    err: Captured,
    line_bytes: usize,
}

impl Wasi {
    pub fn new(line_bytes: usize) -> Self {
        Self { made: None, out: Captured::default(), err: Captured::default(), line_bytes }
    }

    /// What was printed since the last call of this, line by line: standard output first.
    pub fn take_lines(&self) -> Vec<(Level, String)> {
        if self.made.is_none() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for (output, level) in [(&self.out, Level::Info), (&self.err, Level::Error)] {
            let text = output.take();
            let text = String::from_utf8_lossy(&text);
            lines.extend(text.lines().map(|line| (level, line.chars().take(self.line_bytes).collect())));
        }
        lines
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = &mut self.wasi;
        let (out, err) = (&wasi.out, &wasi.err);
        let (ctx, table) = &mut **wasi.made.get_or_insert_with(|| {
            let ctx = WasiCtxBuilder::new()
                .stdout(out.clone())
                .stderr(err.clone())
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .max_random_size(RANDOM_BYTES)
                .build();
            let mut table = ResourceTable::new();
            table.set_max_capacity(RESOURCES);
            Box::new((ctx, table))
        });
        WasiCtxView { ctx, table }
    }
}

/// An output that is kept up to a limit; what comes after is taken and lost, so that printing never fails.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn take(&self) -> Vec<u8> {
        self.0.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }

    fn keep(&self, bytes: &[u8]) {
        if let Ok(mut kept) = self.0.lock() {
            let room = KEPT_BYTES.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl Pollable for Captured {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(KEPT_BYTES)
    }
}

impl tokio::io::AsyncWrite for Captured {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.keep(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::p2::bindings::random::random::Host as _;

    use super::*;
    use crate::RuntimeSettings;
    use crate::host::Shared;

    fn state() -> GuestState {
        let settings = RuntimeSettings::new(Arc::new(sawpit_model::Timestamp::default));
        GuestState::new(Arc::new(Shared::new("p", false, &settings)), 1024)
    }

    #[test]
    fn an_output_is_kept_up_to_its_limit_and_what_comes_after_is_lost() {
        let output = Captured::default();
        output.keep(&vec![b'x'; KEPT_BYTES]);
        output.keep(b"y");
        assert_eq!(output.take(), vec![b'x'; KEPT_BYTES]);
        output.keep(b"y");
        assert_eq!(output.take(), b"y", "there is room again");
    }

    #[test]
    fn a_call_gives_so_many_random_bytes_and_not_one_more() {
        let mut state = state();
        let random = state.ctx().ctx.random();
        let most = usize::try_from(RANDOM_BYTES).unwrap();
        assert_eq!(random.get_random_bytes(RANDOM_BYTES).unwrap().len(), most);
        assert!(random.get_random_bytes(RANDOM_BYTES + 1).unwrap_err().to_string().contains("exceeds limit"));
    }

    #[test]
    fn an_instance_holds_so_many_handles_and_not_one_more() {
        let mut state = state();
        let table = state.ctx().table;
        for _ in 0..RESOURCES {
            table.push(()).unwrap();
        }
        assert!(table.push(()).is_err());
    }
}
