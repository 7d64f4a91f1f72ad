"""The radiographs as data: manifest, images, dicom, cache (the packed file), gate, shortcuts."""
