"""The gateway's own program, one file: replaced while the machine runs."""

from .scene import make_app, wait_idle


def pid(scene):
    return scene.machine.run("systemctl show --value -p MainPID gateway-app.service").strip()


def test_program_and_its_service(warm):
    first = pid(warm)
    job = warm.queue(("gateway-app", make_app("2")), protocols=("MQTT",))
    warm.wait_end(job, "SUCCEEDED", 60)
    assert warm.machine.run("/opt/gateway/app --version").strip() == "2"
    second = pid(warm)
    assert second not in ("0", first), "the service was not started anew"
    wait_idle(warm)

    job = warm.queue(("gateway-app", make_app("3", health="exit 1")))
    execution = warm.wait_end(job, "FAILED", 90)
    assert execution.details["error"] == "selftest-failed"
    assert "gives no sign of health" in execution.details["detail"]
    assert warm.machine.run("/opt/gateway/app --version").strip() == "2"
    assert pid(warm) not in ("0", first, second), "the service was not started anew after the rollback"
    assert warm.starts() == []
    warm.cloud.assert_clean()
