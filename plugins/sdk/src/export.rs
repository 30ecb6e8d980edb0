//! From a type to the exports of a component.

use std::cell::OnceCell;

use crate::Plugin;
use crate::bindings::wire;
use crate::plugin::build;

/// Makes a type the plugin of this crate: `export!(Type: stage, …)`, each stage one of `filter` (the type
/// implements [`Filter`](crate::Filter)), `enrich` ([`Enrich`](crate::Enrich)) and `transform`
/// ([`Transform`](crate::Transform) or [`Rewrite`](crate::Rewrite)).
///
/// Exports exist on wasm32 only. Elsewhere the macro checks that the traits are there and adds nothing, so
/// the crate stays an ordinary library with ordinary tests.
#[macro_export]
macro_rules! export {
    ($plugin:ty : $($stage:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            ::std::thread_local! {
                static PLUGIN: ::std::cell::OnceCell<$plugin> = const { ::std::cell::OnceCell::new() };
            }

            impl $crate::bindings::base::exports::sawpit::plugin::meta::Guest for Exported {
                fn describe() -> $crate::bindings::wire::Description {
                    $crate::glue::describe::<$plugin>()
                }
            }

            impl $crate::bindings::base::exports::sawpit::plugin::configuration::Guest for Exported {
                fn configure(config: ::std::string::String)
                    -> ::std::result::Result<(), ::std::string::String>
                {
                    PLUGIN.with(|cell| $crate::glue::configure(cell, &config))
                }
            }

            $crate::bindings::base::export_base!(Exported with_types_in $crate::bindings::base);
            $($crate::__export_stage!($stage);)+
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $($crate::__check_stage!($stage, $plugin);)+
        };
    };
}

/// One stage of [`export!`], inside the block that has `Exported` and `PLUGIN`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_stage {
    (filter) => {
        impl $crate::bindings::filter::exports::sawpit::plugin::filter::Guest for Exported {
            fn filter(logs: $crate::bindings::wire::Batch) -> $crate::bindings::wire::Verdicts {
                PLUGIN.with(|cell| $crate::glue::filter(cell.get(), logs))
            }
        }
        $crate::bindings::filter::export_filter!(Exported with_types_in $crate::bindings::filter);
    };
    (enrich) => {
        impl $crate::bindings::enrich::exports::sawpit::plugin::enrich::Guest for Exported {
            fn enrich(logs: $crate::bindings::wire::Batch) -> $crate::bindings::wire::Patches {
                PLUGIN.with(|cell| $crate::glue::enrich(cell.get(), logs))
            }
        }
        $crate::bindings::enrich::export_enrich!(Exported with_types_in $crate::bindings::enrich);
    };
    (transform) => {
        impl $crate::bindings::transform::exports::sawpit::plugin::transform::Guest for Exported {
            fn transform(logs: $crate::bindings::wire::Batch) -> $crate::bindings::wire::Outcome {
                PLUGIN.with(|cell| $crate::glue::transform(cell.get(), logs))
            }
        }
        $crate::bindings::transform::export_transform!(Exported with_types_in $crate::bindings::transform);
    };
    ($other:ident) => {
        ::std::compile_error!(::std::concat!(
            "unknown stage `", ::std::stringify!($other), "`: expected filter, enrich or transform"
        ));
    };
}

/// Checks on native targets what [`export!`] needs on wasm32.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_stage {
    (filter, $plugin:ty) => {
        const _: fn(Option<&$plugin>, $crate::bindings::wire::Batch) -> $crate::bindings::wire::Verdicts =
            $crate::glue::filter::<$plugin>;
    };
    (enrich, $plugin:ty) => {
        const _: fn(Option<&$plugin>, $crate::bindings::wire::Batch) -> $crate::bindings::wire::Patches =
            $crate::glue::enrich::<$plugin>;
    };
    (transform, $plugin:ty) => {
        const _: fn(Option<&$plugin>, $crate::bindings::wire::Batch) -> $crate::bindings::wire::Outcome =
            $crate::glue::transform::<$plugin>;
    };
    ($other:ident, $plugin:ty) => {
        ::std::compile_error!(::std::concat!(
            "unknown stage `",
            ::std::stringify!($other),
            "`: expected filter, enrich or transform"
        ));
    };
}

/// The host's first call: what the plugin is.
pub fn describe<P: Plugin>() -> wire::Description {
    #[cfg(target_arch = "wasm32")]
    report_panics();
    wire::Description {
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        help: P::HELP.to_owned(),
        reads: P::READS,
    }
}

/// The host's second call: makes the plugin of this instance.
pub fn configure<P: Plugin>(cell: &OnceCell<P>, config: &str) -> Result<(), String> {
    #[cfg(target_arch = "wasm32")]
    report_panics();
    let plugin = build(config)?;
    cell.set(plugin).map_err(|_| "configure was called twice on one instance".to_owned())
}

/// The failure of every log when the host breaks the order of calls.
pub(crate) fn not_configured() -> String {
    "the plugin was called before configure".to_owned()
}

/// A panic traps, and a trap carries no text; so the text goes to the host's `log` first. Both first calls
/// do this: the host may describe one instance and configure another.
#[cfg(target_arch = "wasm32")]
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        crate::host::log(crate::Level::Critical, &panic.to_string());
    }));
}
