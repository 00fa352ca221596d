"""Small corpora that several test files build."""

import numpy as np
import pytest
import soundfile
from small_corpora import (
    noise,
    write_emodb,
)


@pytest.fixture
def small(tmp_path):
    """Four recordings of 0.3 s."""
    return write_emodb(tmp_path / "emodb", "03a01Fa", "03a01Nc", "09a05Wb", "10b03Tb")


@pytest.fixture
def damaged(small):
    """(folder, reasons by path): two unusable wavs and one of an unknown name."""
    wavs = small / "wav"
    (wavs / "03a01Fa.wav").write_bytes(b"")
    soundfile.write(wavs / "10b03Tb.wav", [np.nan], 16000, subtype="FLOAT")
    soundfile.write(wavs / "copy, of 03a01Nc.wav", noise(), 16000)
    return small, {
        str(wavs / "03a01Fa.wav"): "the file is empty (0 bytes)",
        str(wavs / "10b03Tb.wav"): "has samples that are NaN or infinite",
        str(wavs / "copy, of 03a01Nc.wav"): (
            "the name tells no label (03a01Fa.wav would)"
        ),
    }
