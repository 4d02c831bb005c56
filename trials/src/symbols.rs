//! What `params` needs of the preload library's file of that name.

pub(crate) use crate::os::peek;
