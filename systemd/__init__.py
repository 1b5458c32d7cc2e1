"""The pedal as a systemd service, and disk images of a pedal. docs/service.md.

install.py installs these files; tree.py, chroot.py, partitions.py and image.py make disk images
(`nverb image`).

| file                         | goes to             | what                                        |
|------------------------------|---------------------|---------------------------------------------|
| nverb.target                 | /etc/systemd/system | all services of the pedal                   |
| nverb-jack.service           | "                   | JACK on the sound card                      |
| nverb-audio.service          | "                   | sound                                       |
| nverb-control.service        | "                   | knobs, rooms, commands                      |
| nverb-.service.d/common.conf | "                   | shared: user, restarts, sandbox             |
| run-nverb-shm.mount          | "                   | JACK's memory, apart from other users       |
| cpu-governor-nverb.service   | "                   | full clock                                  |
| zram-nverb.service           | "                   | compressed memory, for boards with little   |
| alsa.conf                    | /etc/nverb          | no configuration of ALSA in a home          |
| sysusers.conf                | /etc/sysusers.d     | user and groups                             |
| tmpfiles.conf                | /etc/tmpfiles.d     | folders                                     |
| 60-nverb.rules               | /etc/udev/rules.d   | groups of SPI, I2C and GPIO devices         |
"""
