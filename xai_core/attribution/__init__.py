"""Attribution methods: functions from a question and pictures to maps."""
