"""Test-time ensembling."""

from collections.abc import Sequence

from mmengine.model import BaseTTAModel
from mmpretrain.structures import DataSample
from torch import Tensor

from lift_mm.registry import MODELS


@MODELS.register_module()
class MeanLogitTTA(BaseTTAModel):
    """Average the logits of several views (LIFT, section 4.4).

    mmpretrain's ``AverageClsScoreTTA`` averages probabilities, which can
    give another class.
    """

    def test_step(self, data: dict) -> list[DataSample]:
        """Predict from all views of a batch.

        Args:
            data: ``inputs`` and ``data_samples``, each a list over views of
                a batch.
        """
        logits = []
        for inputs, samples in zip(data['inputs'], data['data_samples']):
            view = self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=samples), training=False
            )
            logits.append(self.module(view['inputs'], mode='tensor'))
        mean = self.merge_preds(logits)
        return self.module.head._get_predictions(mean, view['data_samples'])

    def merge_preds(self, logits: Sequence[Tensor]) -> Tensor:
        """Give the mean over views, V x (B, C) -> (B, C)."""
        # View by view: `mean` over a stack rounds differently for another
        # batch size, and ranks may have other ones than a single process.
        total = logits[0].float()
        for view in logits[1:]:
            total = total + view
        return total / len(logits)
