//! Lines in the server's log, under the sink's name.
//!
//! The server escapes them and cuts what passes 16 KiB in one call. The macros build no text where the
//! level is off.
//!
//! ```no_run
//! use basin_sink::log;
//! log::info!("checked {} parts", 3);
//! ```

pub use crate::bindings::basin::sink::log::Level;

/// Whether lines of this level are kept.
pub fn is_enabled(level: Level) -> bool {
    crate::raw::log::is_enabled(level)
}

/// Writes a line.
pub fn write(level: Level, text: &str) {
    crate::raw::log::write(level, text);
}

macro_rules! level_macro {
    ($dollar:tt $($(#[$doc:meta])* $hidden:ident as $name:ident = $level:ident,)+) => {
        $(
            $(#[$doc])*
            #[doc(hidden)]
            #[macro_export]
            macro_rules! $hidden {
                ($dollar($dollar argument:tt)+) => {
                    if $dollar crate::log::is_enabled($dollar crate::log::Level::$level) {
                        $dollar crate::log::write($dollar crate::log::Level::$level, &::std::format!($dollar($dollar argument)+));
                    }
                };
            }
            $(#[$doc])*
            pub use $hidden as $name;
        )+
    };
}

level_macro! { $
    /// Writes a line of the level `error`: a person must act.
    __log_error as error = Error,
    /// Writes a line of the level `warn`: a person should look this week.
    __log_warn as warn = Warn,
    /// Writes a line of the level `info`.
    __log_info as info = Info,
    /// Writes a line of the level `debug`.
    __log_debug as debug = Debug,
    /// Writes a line of the level `trace`.
    __log_trace as trace = Trace,
}
