//! Reads which appearance of a controller an index is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::bond::Appearance;

/// Where the kernel shows its controllers and its boot id; a simulated kernel has a folder of its own.
#[derive(Debug, Clone)]
pub struct AppearanceSource {
    controllers: PathBuf,
    boot_id: PathBuf,
}

impl AppearanceSource {
    pub fn of_kernel() -> Self {
        Self {
            controllers: PathBuf::from("/sys/class/bluetooth"),
            boot_id: PathBuf::from("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// A simulated kernel shows both below its own folder.
    pub fn of_simulation(folder: &Path) -> Self {
        Self { controllers: folder.join("sysfs"), boot_id: folder.join("boot_id") }
    }

    /// The appearance of the controller at this index; none where it cannot be told, which is never
    /// taken for a known one.
    pub fn read(&self, index: u16) -> Option<Appearance> {
        let boot_id = std::fs::read_to_string(&self.boot_id).ok()?.trim().to_owned();
        let inode = std::fs::metadata(self.controllers.join(format!("hci{index}"))).ok()?.ino();
        (!boot_id.is_empty()).then_some(Appearance { boot_id, inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appearance_is_known_only_when_both_parts_are() {
        let folder = tempfile::tempdir().unwrap();
        let source = AppearanceSource::of_simulation(folder.path());
        std::fs::create_dir_all(folder.path().join("sysfs/hci0")).unwrap();
        assert_eq!(source.read(0), None);
        std::fs::write(folder.path().join("boot_id"), "abc\n").unwrap();
        let appearance = source.read(0).unwrap();
        assert_eq!(appearance.boot_id, "abc");
        assert_eq!(source.read(1), None);
    }
}
