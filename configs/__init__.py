"""One module per corpus, on the fields of `base`; `get_config(argument)` gives it."""

from configs import crema_d, demo, emodb, iemocap, ravdess

CORPORA = {
    "iemocap": iemocap.get_config,
    "emodb": emodb.get_config,
    "ravdess": ravdess.get_config,
    "crema_d": crema_d.get_config,
    "demo": demo.get_config,
}
