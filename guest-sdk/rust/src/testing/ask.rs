//! The shape of every method that raises an event.

/// The verdict, or a failed test with the text of the sink's failure.
#[track_caller]
pub(super) fn settle<V>(event: &str, answer: crate::Result<V>) -> V {
    match answer {
        Ok(verdict) => verdict,
        Err(failure) => panic!("the sink failed at {event}: {failure}"),
    }
}

/// Makes a method that raises an event and its `try_` form.
///
/// `prepare` sets up the world before the sink runs, with `$world` as its name for it.
macro_rules! raises {
    ($(
        $(#[$doc:meta])*
        $name:ident, $try_name:ident: $event:ident::$method:ident($($param:ident: $ty:ty),*) -> $verdict:ty,
        $access:ident, |$world:ident| $prepare:block, [$($argument:expr),*];
    )+) => {
        $(
            $(#[$doc])*
            #[doc = ""]
            #[doc = "It panics when the sink fails."]
            #[track_caller]
            pub fn $name<S: $crate::$event>(&mut self, $($param: $ty),*) -> $verdict {
                $crate::testing::ask::settle(stringify!($method), self.$try_name::<S>($($param),*))
            }

            $(#[$doc])*
            #[doc = ""]
            #[doc = "A failure of the sink is returned, and nothing that it did is kept."]
            pub fn $try_name<S: $crate::$event>(&mut self, $($param: $ty),*) -> $crate::Result<$verdict> {
                let $world = &mut self.world;
                $prepare
                $crate::raw::run(&mut self.world, $crate::raw::Access::$access, || {
                    S::$method($($argument,)* &$crate::Call::from_raw($crate::raw::types::Call))
                })
            }
        )+
    };
}
pub(super) use raises;
