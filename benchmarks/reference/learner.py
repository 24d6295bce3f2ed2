"""TD-MPC2's update: model losses, then the prior's, then the target heads."""

import copy

import torch
from torch import Tensor, nn

from benchmarks.reference.model import Model

RHO, TAU, CLIP, LR = 0.5, 0.01, 20.0, 3e-4
CONSISTENCY, REWARD, VALUE, ENTROPY = 20.0, 0.1, 0.1, 1e-4


class Learner:
    """A model, its target heads and its optimisers."""

    def __init__(self, model: Model) -> None:
        self.model, self.scale = model.train(), torch.ones(())
        self.targets = copy.deepcopy(model.values).requires_grad_(False)
        rest = [model.dynamics, model.reward, model.values]
        self.optimizer = torch.optim.Adam(
            [
                {"params": model.encoder.parameters(), "lr": 0.3 * LR},
                {"params": [p for part in rest for p in part.parameters()], "lr": LR},
            ]
        )
        self.prior_optimizer = torch.optim.Adam(model.prior.parameters(), lr=LR, eps=1e-5)

    def update(self, obs: Tensor, action: Tensor, reward: Tensor) -> dict[str, float]:
        """One update.

        Args:
            obs: (H + 1, B, O).
            action: (H, B, A).
            reward: (H, B).
        """
        model, horizon = self.model, len(action)
        with torch.no_grad():
            next_z = model.encoder(obs[1:])
            target = reward + model.sizes.discount * self._target_value(next_z)
        zs = [model.encoder(obs[0])]
        consistency = torch.zeros(())
        for t in range(horizon):
            zs.append(model.next(zs[-1], action[t]))
            consistency = consistency + RHO**t * (zs[-1] - next_z[t]).square().mean()
        rollout = torch.stack(zs)
        weight = (RHO ** torch.arange(horizon)).reshape(-1, 1)
        error = model.cross_entropy(model.reward_logits(rollout[:-1], action), reward)
        reward_loss = (weight * error).mean()
        logits = model.value_logits(rollout[:-1], action)
        value_loss = (weight * model.cross_entropy(logits, target.expand(logits.shape[:-1]))).mean()
        total = CONSISTENCY * consistency / horizon + REWARD * reward_loss + VALUE * value_loss
        total.backward()
        nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], CLIP
        )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        prior_loss = self._update_prior(rollout.detach())
        with torch.no_grad():
            for target_p, p in zip(
                self.targets.parameters(), model.values.parameters(), strict=True
            ):
                target_p.lerp_(p, TAU)
        return {"total_loss": total.item(), "prior_loss": prior_loss.item()}

    def _target_value(self, z: Tensor) -> Tensor:
        action, _ = self.model.draw(z)
        pair = torch.randperm(self.model.sizes.num_q)[:2]
        logits = self.model.value_logits(z, action, self.targets)[pair]
        return self.model.scalar(logits).amin(dim=0)

    def _update_prior(self, zs: Tensor) -> Tensor:
        self.model.values.requires_grad_(False)
        action, log_prob = self.model.draw(zs)
        value = self.model.value(zs, action)
        low, high = torch.quantile(value[0].detach(), torch.tensor([0.05, 0.95]))
        self.scale.lerp_((high - low).clamp(min=1.0), TAU)
        weight = (RHO ** torch.arange(len(zs))).reshape(-1, 1)
        loss = -(weight * (value / self.scale - ENTROPY * log_prob)).mean()
        loss.backward()
        self.model.values.requires_grad_(True)
        nn.utils.clip_grad_norm_(self.model.prior.parameters(), CLIP)
        self.prior_optimizer.step()
        self.prior_optimizer.zero_grad(set_to_none=True)
        return loss.detach()
