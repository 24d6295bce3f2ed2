"""Joint positions tell every joint by numbers without a jump."""

import numpy as np
from dm_control import mujoco

from wmrobot.envs.joints import joint_names, joint_positions

MJCF = """
<mujoco><worldbody>
  <body name="a"><joint name="rail" type="slide"/><geom size="0.1"/>
    <body name="b"><joint name="wheel"/><geom size="0.1"/>
      <body name="c"><joint name="knee" limited="true" range="-90 90"/><geom size="0.1"/></body>
    </body>
  </body>
  <body name="d"><freejoint name="root"/><geom size="0.1"/></body>
</worldbody></mujoco>
"""


def test_every_joint_is_told_by_its_kind() -> None:
    physics = mujoco.Physics.from_xml_string(MJCF)
    physics.data.qpos[:3] = 0.4, np.pi / 2 + 2 * np.pi, -0.3
    assert joint_names(physics) == (
        "rail", "sin wheel", "cos wheel", "knee", *(f"root[{i}]" for i in range(7)),
    )  # fmt: skip
    told = joint_positions(physics)
    np.testing.assert_allclose(told[:4], [0.4, 1, 0, -0.3], atol=1e-12)
    np.testing.assert_allclose(told[4:], [0, 0, 0, 1, 0, 0, 0])
    physics.free()
